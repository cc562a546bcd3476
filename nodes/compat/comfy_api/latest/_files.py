"""Writes pictures and sound into the data folders, with the prompt that made them. Knows no node."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING

from executor import context
from executor.files import BATCH_TOKEN
from executor.inference.pixels import to_pil
from nodes.builtin.picture_files import metadata_texts, output_root, png_metadata, write_atomically, write_png
from nodes.builtin.sound_files import write_sounds

if TYPE_CHECKING:
    from executor.files import SaveName


def random_prefix() -> str:
    """The start of the names of a preview's files, different for each."""
    return "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))


def texts_of(cls: object) -> dict[str, str]:
    """The prompt and extras that a running node's class was given, as JSON texts."""
    hidden = getattr(cls, "hidden", None)
    if hidden is None or context.current().services is None:
        return {}
    return metadata_texts(hidden.prompt, hidden.extra_pnginfo)


def place(prefix: str, folder: str, width: int = 0, height: int = 0) -> SaveName:
    """The next free name below a data folder (output, temp, input)."""
    services = context.current().services
    return services.folders.next_name(prefix, output_root(folder), width, height)


def save_pngs(images: object, prefix: str, folder: str, cls: object, level: int) -> list[dict[str, str]]:
    """Write each picture as a PNG file, and tell the files."""
    name = place(prefix, folder, images[0].shape[1], images[0].shape[0])
    info = png_metadata(texts_of(cls))
    saved = []
    for number, image in enumerate(images):
        filename = f"{name.stem.replace(BATCH_TOKEN, str(number))}_{name.counter + number:05}_.png"
        write_png(name.folder / filename, to_pil(image), info, level)
        saved.append({"filename": filename, "subfolder": name.subfolder, "type": folder})
    return saved


def save_animation(
    images: object, prefix: str, folder: str, cls: object, suffix: str, **options: object
) -> dict[str, str]:
    """Write all pictures as one animated file (png, webp), and tell it; `options` are Pillow's."""
    name = place(prefix, folder, images[0].shape[1], images[0].shape[0])
    filename = f"{name.stem}_{name.counter:05}_.{suffix}"
    frames = [to_pil(image) for image in images]
    write_atomically(
        name.folder / filename,
        lambda file: frames[0].save(
            file, format=suffix.upper(), save_all=True, append_images=frames[1:], **_with_texts(suffix, cls, options)
        ),
    )
    return {"filename": filename, "subfolder": name.subfolder, "type": folder}


def _with_texts(suffix: str, cls: object, options: dict[str, object]) -> dict[str, object]:
    texts = texts_of(cls)
    if suffix == "png":
        return options | {"pnginfo": png_metadata(texts)}
    from PIL import Image

    exif = Image.Exif()
    tag = 0x010F
    for key, value in texts.items():
        if key == "prompt":
            exif[0x0110] = f"{key}:{value}"
        else:
            exif[tag] = f"{key}:{value}"
            tag -= 1
    return options | {"exif": exif}


def save_sounds(
    audio: dict[str, object], prefix: str, folder: str, cls: object, format: str, quality: str
) -> list[dict[str, str]]:
    """Write each sound of a batch as a file (flac, mp3, opus), and tell the files; needs PyAV."""
    return write_sounds(audio, place(prefix, folder), folder, format, quality, texts_of(cls))
