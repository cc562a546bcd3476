"""The node VHS_VideoCombine of VideoHelperSuite: pictures and sound into gif, webp, video or png files.

Behaviour: reference/vhs_video_combine.md. Where the pack itself is installed, its own node is used.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import cast

import torch
from PIL import Image as PilImage
from torch import Tensor

from executor import context
from executor.errors import NodeInputError
from executor.files import SaveName
from executor.inference.frames import (
    DecodedLatents,
    Decoder,
    FrameSequence,
    Pictures,
    Values,
    file_values,
    shown_order,
)
from executor.inference.gifski import encode_gifski, find_gifski
from executor.inference.media import rate_of
from executor.inference.sound import SoundEncoding, add_sound, checked
from executor.inference.spooled_frames import Frames, SpooledFrames
from executor.inference.values import Audio, Image, Latent
from executor.inference.video_encoding import encode_palette_gif, encode_png, encode_video
from executor.numbered import numbered
from nodes.builtin.inputs import AnyInput, Either, InputTypes, flag, integer, text
from nodes.builtin.picture_files import output_root, png_metadata, whole, write_png
from nodes.builtin.services import running, services
from nodes.builtin.video_format_files import user_formats
from nodes.builtin.video_formats import CATEGORY, GIFSKI, PACK, Format, choices_of, format_named, formats, widget_values
from nodes.builtin.video_meta_batch import MetaBatch, without_batch

EXIF_TAKEN = 36867  # DateTimeOriginal
Filenames = tuple[bool, list[str]]
Result = dict[str, object]

log = logging.getLogger("weft.nodes")


class VHS_VideoCombine:  # noqa: N801  # the name that workflows have
    """Joins pictures, and sound if there is any, into one animation or video."""

    PACK = PACK
    DISPLAY_NAME = "Video Combine 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = ("VHS_FILENAMES",)
    RETURN_NAMES = ("Filenames",)
    FUNCTION = "combine_video"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed; the widgets of each format come as inputs that are not declared."""
        known = _known()
        return {
            "required": {
                "images": (Either("IMAGE", "LATENT"),),
                "frame_rate": (Either("FLOAT", "INT"), {"default": 8, "min": 1, "step": 1}),
                "loop_count": integer(0, 0, 100, step=1),
                "filename_prefix": text(default="AnimateDiff"),
                "format": (list(known), {"formats": choices_of(known)}),
                "pingpong": flag(default=False),
                "save_output": flag(default=True),
            },
            "optional": {"audio": ("AUDIO",), "meta_batch": ("VHS_BatchManager",), "vae": ("VAE",)},
            "hidden": AnyInput(prompt="PROMPT", extra_pnginfo="EXTRA_PNGINFO", unique_id="UNIQUE_ID"),
        }

    def combine_video(
        self,
        frame_rate: float = 8,
        loop_count: int = 0,
        images: Image | Latent | None = None,
        latents: Image | Latent | None = None,
        filename_prefix: str = "AnimateDiff",
        format: str = "image/gif",
        pingpong: bool = False,
        save_output: bool = True,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
        audio: Audio | None = None,
        unique_id: object = None,
        manual_format_widgets: Mapping[str, object] | None = None,
        meta_batch: MetaBatch | None = None,
        vae: Decoder | None = None,
        **widgets: object,
    ) -> Result:
        """Write the files, and tell clients under `gifs`; no pictures give no file.

        Of a video in batches the pictures wait, and the last prompt writes it. NodeInputError for what cannot be
        encoded, UnsafePath when the prefix leaves the folder.
        """
        frames: Frames | None = _frames(images if images is not None else latents, vae)
        if frames is None:
            return {"result": ((save_output, []),)}
        chosen = format_named(format, _known())
        if meta_batch is not None:
            waiting = _waiting(meta_batch, unique_id, frames, chosen)
            if meta_batch.goes_on:
                meta_batch.requeue()
                return {"ui": {"unfinished_batch": [True]}, "result": ((save_output, []),)}
            frames = waiting
        given = {**widgets, **(manual_format_widgets or {})}
        job = Job(
            chosen=chosen,
            widgets=widget_values(chosen, given),
            frames=frames,
            rate=rate_of(frame_rate),
            loop_count=loop_count,
            pingpong=pingpong,
            target=_target(filename_prefix, save_output, frames[0]),
            metadata=_metadata(without_batch(prompt), extra_pnginfo),
        )
        pictures = job.write_pictures()  # first: where that fails, no cover stays behind
        files = [job.write_cover(kept=_wishes(extra_pnginfo).get("VHS_MetadataImage", True) is not False), pictures]
        sound = _sound(audio)
        if sound is not None:
            files += job.write_sound(Path(files[-1]), sound)
        if _wishes(extra_pnginfo).get("VHS_KeepIntermediate", True) is False:
            for file in files[1:-1]:
                Path(file).unlink(missing_ok=True)
        shown = job.shown(Path(files[-1]), float(frame_rate), save_output)
        if isinstance(frames, SpooledFrames):
            frames.remove()
        return {"ui": {"gifs": [shown]}, "result": ((save_output, files),)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call of the node: what goes into which files."""

    chosen: Format
    widgets: Mapping[str, object]
    frames: Frames
    rate: Fraction
    loop_count: int
    pingpong: bool
    target: SaveName
    metadata: Mapping[str, str]

    @property
    def stem(self) -> str:
        """What the names of all files of the call begin with."""
        return f"{self.target.stem}_{self.target.counter:05}"

    @property
    def is_sequence(self) -> bool:
        """Tell whether each frame becomes a file of its own."""
        return self.chosen.extension.startswith("%") and self.chosen.encoding is None

    def write_cover(self, *, kept: bool) -> str:
        """Write the first frame with the workflow, if it is wanted; its path in either case."""
        path = self.target.folder / f"{self.stem}.png"
        if kept:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            picture = PilImage.fromarray(file_values(self.frames[0]))
            write_png(path, picture, png_metadata({**self.metadata, "CreationTime": now}), 4)
        return str(path)

    def write_pictures(self) -> str:
        """Write all frames, without sound; the path."""
        name = f"{self.stem}.{self.chosen.extension}"
        path = self.target.folder / name
        if self.is_sequence:
            self._write_sequence(path)
            return str(path)
        with whole(path) as part:
            if self.chosen.name.startswith("image/"):
                self._write_animation(part)
            elif self.chosen is GIFSKI:
                program, quality = find_gifski() or "gifski", int(str(self.widgets["quality"]))
                encode_gifski(part, self._values(8), self.rate, quality, program)
            elif self.chosen.encoding is None:
                dither = str(self.widgets["dither"])
                encode_palette_gif(part, self._palette_passes().__next__, self.rate, dither)
            else:
                how = self.chosen.encoding(self.widgets, self._has_alpha())
                bits = how.bits
                encode_video(part, self._values(bits), self.rate, how, self._file_metadata())
        return str(path)

    def _has_alpha(self) -> bool:
        return self.frames[0].shape[-1] == 4

    def _file_metadata(self) -> dict[str, str]:
        if not (self.chosen.keeps_metadata and self.widgets.get("save_metadata", False)):
            return {}
        return {**self.metadata, "creation_time": datetime.now(UTC).isoformat(timespec="seconds")}

    def _palette_passes(self) -> Iterator[Iterator[Values]]:
        """The frames twice: to choose the colours, and to draw; one progress bar over both."""
        total = 2 * len(self._order())
        yield self._values(8, done=0, total=total)
        yield self._values(8, done=total // 2, total=total)

    def _order(self) -> list[int]:
        is_video = self.chosen.name.startswith("video/")
        return shown_order(len(self.frames), self.pingpong, 1 + self.loop_count if is_video else 1)

    def _values(self, bits: int, done: int = 0, total: int | None = None) -> Iterator[Values]:
        """The frames one after another, with progress; Interrupted when the user stops the prompt."""
        order, here = self._order(), context.current()
        total = len(order) if total is None else total
        for count, number in enumerate(order, start=done + 1):
            picture = self.frames[number]
            if not bool(torch.isfinite(picture).all()):
                log.warning("VHS_VideoCombine: frame %d holds values that are no numbers; they are drawn black", number)
            values = file_values(picture, bits, self.chosen.alignment)
            here.progress(count, total)
            yield values

    def _write_animation(self, part: Path) -> None:
        """A file that Pillow writes; it takes each frame when it comes to it."""
        options: dict[str, object] = {"duration": round(1000 / self.rate), "loop": self.loop_count}
        if self.chosen.extension == "gif":
            options["disposal"] = 2
        else:
            exif = PilImage.Exif()
            exif[EXIF_TAKEN] = time.strftime("%Y:%m:%d %H:%M:%S")
            options |= {"lossless": self.widgets["lossless"], "exif": exif}
        sequence = FrameSequence(lambda: self._values(8), len(self._order()))
        with part.open("wb") as file:
            sequence.save(file, format=self.chosen.extension.upper(), save_all=True, **options)

    def _write_sequence(self, path: Path) -> None:
        for number, values in enumerate(self._values(self.chosen.bits), start=1):
            with whole(path.with_name(numbered(path.name, number))) as part:
                part.write_bytes(encode_png(values, self.chosen.bits))

    def write_sound(self, video: Path, audio: Audio) -> list[str]:
        """Write the video once more, with sound; nothing for formats without sound."""
        if self.chosen.sound is None or self.chosen.encoding is None:
            log.warning("VHS_VideoCombine: %s holds no sound; it is left out", self.chosen.name)
            return []
        path = video.with_name(f"{self.stem}-audio.{self.chosen.extension}")
        how = self.chosen.encoding(self.widgets, self._has_alpha())
        sounds = how.sounds or SoundEncoding(codec=self.chosen.sound)
        with whole(path) as part:
            trim = bool(self.widgets.get("trim_to_audio", False))
            add_sound(video, part, how.container, sounds, audio, trim=trim)
        return [str(path)]

    def shown(self, last: Path, frame_rate: float, save_output: bool) -> dict[str, object]:
        """What clients are told of the last file."""
        kind, filename = "image/gif" if self.chosen is GIFSKI else self.chosen.name, last.name
        frames = len(self._order()) if self.is_sequence else 0
        if frames == 1:
            kind, filename = "image/png", numbered(last.name, 1)
        return {
            "filename": filename,
            "subfolder": self.target.subfolder,
            "type": "output" if save_output else "temp",
            "format": kind,
            "frame_rate": frame_rate,
            "workflow": f"{self.stem}.png",
            "fullpath": str(last),
            **({"frames": frames} if frames > 1 else {}),  # ours: the files are found by it
        }


def _known() -> Mapping[str, Format]:
    """Every format by name: ours, then those of files that the user wrote."""
    worker = running()
    own = {} if worker is None else user_formats(worker.folders)
    ours = formats()
    return {**ours, **{name: each for name, each in own.items() if name not in ours}}


def _frames(given: Image | Latent | None, vae: Decoder | None) -> Pictures | DecodedLatents | None:
    """The pictures of an input; None where there is none."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        if vae is None:
            raise NodeInputError("input 'images': latents need a VAE; link one to the input 'vae'")
        decoded = DecodedLatents(given, vae)
        return decoded if len(decoded) else None
    if not isinstance(given, Tensor):
        raise NodeInputError(f"input 'images': {type(given).__name__} is neither pictures nor a latent")
    return Pictures(given) if len(given) else None


def _waiting(batch: MetaBatch, node_id: object, frames: Frames, chosen: Format) -> SpooledFrames:
    """All frames of a series up to this batch's, put on disk; NodeInputError for a format that takes no batches."""
    if chosen.name.startswith("image/"):
        raise NodeInputError(f"input 'format': {chosen.name} cannot be made in batches; choose one of video/...")
    waiting, here = SpooledFrames(batch.folder(node_id)), context.current()
    waiting.begin(batch.number)
    for number in range(len(frames)):
        waiting.add(frames[number])
        here.progress(number + 1, len(frames))
    return waiting


def _target(prefix: str, save_output: bool, first: Tensor) -> SaveName:
    """Where the files go; the number is one above the highest of any file of that name."""
    root = output_root("output" if save_output else "temp")
    return services().folders.next_name(prefix, root, first.shape[1], first.shape[0], count=1, numbered=_numbered)


def _numbered(stem: str, names: Iterable[str]) -> int:
    pattern = re.compile(rf"{re.escape(stem)}_(\d+)\D*\..+", re.IGNORECASE)
    taken = (pattern.fullmatch(name) for name in names)
    return 1 + max((int(match[1]) for match in taken if match), default=0)


def _metadata(prompt: object, extra: Mapping[str, object] | None) -> dict[str, str]:
    kept = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return kept | {name: json.dumps(value) for name, value in (extra or {}).items()}


def _wishes(extra: Mapping[str, object] | None) -> Mapping[str, object]:
    """What the workflow's own settings say."""
    workflow = (extra or {}).get("workflow")
    found = workflow.get("extra") if isinstance(workflow, Mapping) else None
    return cast(Mapping[str, object], found) if isinstance(found, Mapping) else {}


def _sound(audio: object) -> Audio | None:
    """The sound of an input; None for that of a video without any, which says so when it is first asked."""
    if audio is None:
        return None
    try:
        if isinstance(audio, Mapping) and audio["waveform"] is None:
            return None
    except Exception as failure:  # noqa: BLE001  # a lazy sound of a pack may fail in any way: there is none then
        log.warning("VHS_VideoCombine: the sound cannot be read, so there is none: %s", failure)
        return None
    found = checked(audio)
    return found if found["waveform"].shape[-1] and found["waveform"].shape[0] else None


NODES = (VHS_VideoCombine,)
