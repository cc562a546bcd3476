"""The node that saves drawings (SVG). Knows not who draws them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from io import BytesIO
from xml.sax.saxutils import escape

from executor.errors import NodeInputError
from executor.files import BATCH_TOKEN
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, socket, text
from nodes.builtin.picture_files import Saved, metadata_texts, output_root, write_atomically
from nodes.builtin.services import services

_ROOT = re.compile(rb"<svg\b[^>]*>", re.IGNORECASE)


class SaveSVGNode:
    """Saves drawings in the output folder, with the prompt that made them."""

    PACK = "comfy_extras.nodes_images"
    CATEGORY = "image/save"
    DESCRIPTION = "Saves SVG drawings in the output folder."
    RETURN_TYPES = ()
    FUNCTION = "save_svg"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        prefix = text(default="svg/ComfyUI", tooltip="How file names begin; a slash makes folders.")
        return {"required": {"svg": socket("SVG"), "filename_prefix": prefix}, "hidden": dict(PNG_HIDDEN)}

    def save_svg(
        self,
        svg: object,
        filename_prefix: str = "svg/ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, dict[str, list[Saved]]]:
        """One file for each drawing; NodeInputError for what is no SVG."""
        drawings = list(_drawings(svg))
        name = services().folders.next_name(filename_prefix, output_root("output"), count=len(drawings))
        texts = metadata_texts(prompt, extra_pnginfo)
        saved: list[Saved] = []
        for number, drawing in enumerate(drawings):
            filename = f"{name.stem.replace(BATCH_TOKEN, str(number))}_{name.counter + number:05}_.svg"
            body = _with_texts(drawing, texts)
            write_atomically(name.folder / filename, lambda file, body=body: file.write(body))  # type: ignore[misc]  # the default binds this turn's value
            saved.append({"filename": filename, "subfolder": name.subfolder, "type": "output"})
        return {"ui": {"images": saved}}


def _drawings(svg: object) -> Iterable[bytes]:
    """The bytes of each drawing: an SVG value holds streams in `data`; a single text or stream counts too."""
    held = getattr(svg, "data", svg)
    for drawing in held if isinstance(held, list | tuple) else [held]:
        body = drawing.getvalue() if isinstance(drawing, BytesIO) else drawing
        body = body.encode() if isinstance(body, str) else body
        if not isinstance(body, bytes) or not _ROOT.search(body):
            raise NodeInputError(f"input 'svg': {type(drawing).__name__} is no SVG drawing; it has no <svg> element")
        yield body


def _with_texts(body: bytes, texts: Mapping[str, str]) -> bytes:
    """The drawing with a <metadata> element behind the start of its root, as SVG 1.1 section 21 has it."""
    if not texts:
        return body
    held = "".join(f'<text name="{escape(key)}">{escape(value)}</text>' for key, value in texts.items())
    element = f"<metadata>{held}</metadata>".encode()
    return _ROOT.sub(lambda root: _opened(root[0]) + element + _closing(root[0]), body, count=1)


def _opened(root: bytes) -> bytes:
    return root[:-2].rstrip() + b">" if root.endswith(b"/>") else root


def _closing(root: bytes) -> bytes:
    return b"</svg>" if root.endswith(b"/>") else b""


NODES = (SaveSVGNode,)
