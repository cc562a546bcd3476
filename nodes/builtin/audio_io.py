"""Nodes that load, record, save and play sounds (AUDIO). Know no models."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from typing import ClassVar

from executor.errors import NodeInputError
from executor.inference.sound import read_sound
from executor.inference.values import Audio
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, choice, files, socket, text
from nodes.builtin.picture_files import Saved, metadata_texts, output_root
from nodes.builtin.services import check_input_file, file_hash, input_path, services
from nodes.builtin.sound_files import write_sounds

PACK = "comfy_extras.nodes_audio"
Shown = dict[str, dict[str, list[Saved]]]


class LoadAudio:
    """Loads a sound of the input folder."""

    PACK = PACK
    DISPLAY_NAME = "Load Audio"
    CATEGORY = "audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"audio": "audio"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"audio": files("input", content="audio,video", audio_upload=True)}}

    def load(self, audio: str) -> tuple[Audio]:
        """The sound; NodeInputError when the file is damaged or silent by nature."""
        return (_loaded(audio),)

    @classmethod
    def IS_CHANGED(cls, audio: str) -> str:
        """The hash of the file, so that a changed file is loaded again."""
        return file_hash(input_path(audio, "audio"))

    @classmethod
    def VALIDATE_INPUTS(cls, audio: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(audio, "audio")


class RecordAudio:
    """Gives the sound that the client recorded."""

    PACK = PACK
    DISPLAY_NAME = "Record Audio"
    CATEGORY = "audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"audio": ("AUDIO_RECORD", {})}}

    def load(self, audio: str) -> tuple[Audio]:
        """The uploaded recording; NodeInputError when there is none."""
        if not audio:
            raise NodeInputError("input 'audio': nothing was recorded yet")
        return (_loaded(audio),)

    @classmethod
    def IS_CHANGED(cls, audio: str) -> str:
        """The hash of the file, so that a new recording is taken in."""
        return file_hash(input_path(audio, "audio")) if audio else ""


def _loaded(name: str) -> Audio:
    sound = read_sound(str(input_path(name, "audio")), name)
    if sound is None:
        raise NodeInputError(f"input 'audio': {name} holds no sound")
    return sound


class SaveAudio:
    """Saves sounds as FLAC files, without loss."""

    PACK = PACK
    DISPLAY_NAME = "Save Audio (FLAC)"
    CATEGORY = "audio"
    RETURN_TYPES = ()
    FUNCTION = "save_flac"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"audio": socket("AUDIO"), "filename_prefix": text(default="audio/ComfyUI")},
            "hidden": dict(PNG_HIDDEN),
        }

    def save_flac(
        self,
        audio: Audio,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> Shown:
        """One file for each sound of the batch."""
        return _saved(audio, filename_prefix, "flac", "", prompt, extra_pnginfo)


class SaveAudioMP3:
    """Saves sounds as MP3 files."""

    PACK = PACK
    DISPLAY_NAME = "Save Audio (MP3)"
    CATEGORY = "audio"
    RETURN_TYPES = ()
    FUNCTION = "save_mp3"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        quality = choice(["V0", "128k", "320k"], default="V0")
        prefix = text(default="audio/ComfyUI")
        return {
            "required": {"audio": socket("AUDIO"), "filename_prefix": prefix, "quality": quality},
            "hidden": dict(PNG_HIDDEN),
        }

    def save_mp3(
        self,
        audio: Audio,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
        quality: str = "128k",
    ) -> Shown:
        """One file for each sound of the batch; V0 is the best variable bit rate."""
        return _saved(audio, filename_prefix, "mp3", quality, prompt, extra_pnginfo)


class SaveAudioOpus:
    """Saves sounds as Opus files."""

    PACK = PACK
    DISPLAY_NAME = "Save Audio (Opus)"
    CATEGORY = "audio"
    RETURN_TYPES = ()
    FUNCTION = "save_opus"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        quality = choice(["64k", "96k", "128k", "192k", "320k"], default="128k")
        prefix = text(default="audio/ComfyUI")
        return {
            "required": {"audio": socket("AUDIO"), "filename_prefix": prefix, "quality": quality},
            "hidden": dict(PNG_HIDDEN),
        }

    def save_opus(
        self,
        audio: Audio,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
        quality: str = "128k",
    ) -> Shown:
        """One file for each sound of the batch, at the next rate that Opus knows."""
        return _saved(audio, filename_prefix, "opus", quality, prompt, extra_pnginfo)


class PreviewAudio:
    """Plays sounds, which are kept in the temp folder."""

    PACK = PACK
    DISPLAY_NAME = "Preview Audio"
    CATEGORY = "audio"
    RETURN_TYPES = ()
    FUNCTION = "save_flac"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"audio": socket("AUDIO")}, "hidden": dict(PNG_HIDDEN)}

    def save_flac(
        self, audio: Audio, prompt: object = None, extra_pnginfo: Mapping[str, object] | None = None
    ) -> Shown:
        """One file for each sound of the batch, under a random name."""
        prefix = "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
        return _saved(audio, prefix, "flac", "", prompt, extra_pnginfo, "temp")


def _saved(
    audio: Audio,
    prefix: str,
    ending: str,
    quality: str,
    prompt: object,
    extra: Mapping[str, object] | None,
    kind: str = "output",
) -> Shown:
    name = services().folders.next_name(prefix, output_root(kind))
    return {"ui": {"audio": write_sounds(audio, name, kind, ending, quality, metadata_texts(prompt, extra))}}


NODES = (LoadAudio, RecordAudio, SaveAudio, SaveAudioMP3, SaveAudioOpus, PreviewAudio)
