"""What a node lets clients show: pictures, sound, text, shapes. Previews are written to the temp folder at once.

Names and dictionary forms: reference/execution.md section 14.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from comfy_api.latest import _files
from comfy_api.latest.io import FolderType
from nodes import placeholders

__getattr__ = placeholders.fallback(__name__)

METHODS = {"default": 4, "fastest": 0, "slowest": 6}


class _UIOutput(ABC):
    """Something that clients show."""

    @abstractmethod
    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""


class SavedResult(dict):
    """A file that was written."""

    def __init__(self, filename: str, subfolder: str, type: FolderType | str) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=_folder(type))

    @property
    def filename(self) -> str:
        """The name."""
        return self["filename"]

    @property
    def subfolder(self) -> str:
        """The folder below the data folder."""
        return self["subfolder"]

    @property
    def type(self) -> str:
        """The data folder."""
        return self["type"]


class SavedImages(_UIOutput):
    """Pictures that were written."""

    def __init__(self, results: list[SavedResult], is_animated: bool = False) -> None:
        self.results = results
        self.is_animated = is_animated

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        shown: dict[str, object] = {"images": self.results}
        if self.is_animated:
            shown["animated"] = (True,)
        return shown


class SavedAudios(_UIOutput):
    """Sounds that were written."""

    def __init__(self, results: list[SavedResult]) -> None:
        self.results = results

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        return {"audio": self.results}


class ImageSaveHelper:
    """Writes pictures with the prompt that made them; `cls` is the class that `execute` was given."""

    @staticmethod
    def save_images(
        images: object, filename_prefix: str, folder_type: FolderType | str, cls: object = None, compress_level: int = 4
    ) -> list[SavedResult]:
        """PNG files, one per picture."""
        saved = _files.save_pngs(images, filename_prefix, _folder(folder_type), cls, compress_level)
        return [SavedResult(**file) for file in saved]

    @staticmethod
    def get_save_images_ui(
        images: object, filename_prefix: str, cls: object = None, compress_level: int = 4
    ) -> SavedImages:
        """PNG files in the output folder, as clients show them."""
        return SavedImages(ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level))

    @staticmethod
    def save_animated_png(
        images: object,
        filename_prefix: str,
        folder_type: FolderType | str,
        cls: object = None,
        fps: float = 6.0,
        compress_level: int = 4,
    ) -> SavedResult:
        """One animated PNG file."""
        options = {"duration": int(1000.0 / fps), "compress_level": compress_level}
        return SavedResult(
            **_files.save_animation(images, filename_prefix, _folder(folder_type), cls, "png", **options)
        )

    @staticmethod
    def get_save_animated_png_ui(
        images: object, filename_prefix: str, cls: object = None, fps: float = 6.0, compress_level: int = 4
    ) -> SavedImages:
        """One animated PNG file in the output folder, as clients show it."""
        saved = ImageSaveHelper.save_animated_png(images, filename_prefix, FolderType.output, cls, fps, compress_level)
        return SavedImages([saved], is_animated=len(images) > 1)

    @staticmethod
    def save_animated_webp(
        images: object,
        filename_prefix: str,
        folder_type: FolderType | str,
        cls: object = None,
        fps: float = 6.0,
        lossless: bool = True,
        quality: int = 80,
        method: int | str = 4,
    ) -> SavedResult:
        """One animated WEBP file."""
        effort = METHODS.get(method, 4) if isinstance(method, str) else method
        options = {"duration": int(1000.0 / fps), "lossless": lossless, "quality": quality, "method": effort}
        return SavedResult(
            **_files.save_animation(images, filename_prefix, _folder(folder_type), cls, "webp", **options)
        )

    @staticmethod
    def get_save_animated_webp_ui(
        images: object,
        filename_prefix: str,
        cls: object = None,
        fps: float = 6.0,
        lossless: bool = True,
        quality: int = 80,
        method: int | str = 4,
    ) -> SavedImages:
        """One animated WEBP file in the output folder, as clients show it."""
        saved = ImageSaveHelper.save_animated_webp(
            images, filename_prefix, FolderType.output, cls, fps, lossless, quality, method
        )
        return SavedImages([saved], is_animated=len(images) > 1)


class AudioSaveHelper:
    """Writes sound with the prompt that made it; needs PyAV."""

    @staticmethod
    def save_audio(
        audio: dict[str, object],
        filename_prefix: str,
        folder_type: FolderType | str,
        cls: object = None,
        format: str = "flac",
        quality: str = "128k",
    ) -> list[SavedResult]:
        """One file per sound of the batch: flac, mp3 or opus."""
        saved = _files.save_sounds(audio, filename_prefix, _folder(folder_type), cls, format, quality)
        return [SavedResult(**file) for file in saved]

    @staticmethod
    def get_save_audio_ui(
        audio: dict[str, object],
        filename_prefix: str,
        cls: object = None,
        format: str = "flac",
        quality: str = "128k",
    ) -> SavedAudios:
        """Files in the output folder, as clients show them."""
        return SavedAudios(AudioSaveHelper.save_audio(audio, filename_prefix, FolderType.output, cls, format, quality))


class PreviewImage(_UIOutput):
    """Pictures to look at."""

    def __init__(self, image: object, animated: bool = False, cls: object = None, **kwargs: object) -> None:
        self.values = ImageSaveHelper.save_images(image, _files.random_prefix(), FolderType.temp, cls, 1)
        self.animated = animated

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        return {"images": self.values, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    """Masks to look at, as grey pictures."""

    def __init__(self, mask: object, animated: bool = False, cls: object = None, **kwargs: object) -> None:
        grey = mask.reshape((-1, 1, mask.shape[-2], mask.shape[-1])).movedim(1, -1).expand(-1, -1, -1, 3)
        super().__init__(grey, animated, cls, **kwargs)


class PreviewAudio(_UIOutput):
    """Sound to listen to."""

    def __init__(self, audio: dict[str, object], cls: object = None, **kwargs: object) -> None:
        self.values = AudioSaveHelper.save_audio(audio, _files.random_prefix(), FolderType.temp, cls)

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        return {"audio": self.values}


class PreviewVideo(_UIOutput):
    """Videos that were written, to look at."""

    def __init__(self, values: list[SavedResult | dict[str, object]], **kwargs: object) -> None:
        self.values = values

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        return {"images": self.values, "animated": (True,)}


class PreviewText(_UIOutput):
    """Text to read."""

    def __init__(self, value: str, **kwargs: object) -> None:
        self.value = value

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        return {"text": (self.value,)}


class PreviewUI3D(_UIOutput):
    """A shape to look at: its file, and where it is seen from."""

    def __init__(self, model_file: str, camera_info: object = None, **kwargs: object) -> None:
        self.model_file = model_file
        self.camera_info = camera_info

    def as_dict(self) -> dict[str, object]:
        """It as the client gets it."""
        return {"result": [self.model_file, self.camera_info]}


def _folder(kind: FolderType | str) -> str:
    return kind.value if isinstance(kind, FolderType) else str(kind)
