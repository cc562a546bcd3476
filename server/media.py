"""Files as /view shows them: content types, headers, re-encoded previews and single channels. Knows no routes.

Pillow is imported on first use: the front has to answer before it is loaded. Every picture function is slow and belongs
in a thread.
"""

from __future__ import annotations

import io
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from unicodedata import category

from executor.errors import BadInput
from server import largepicture
from server.largepicture import MOST_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

CONTENT_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".json": "application/json",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".opus": "audio/opus",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Types that clients rely on, whatever the machine's own table says."""

Source = BinaryIO
"""Where a picture is read from."""

ANY_BYTES = "application/octet-stream"
SVG = "image/svg+xml"
SHOWN_GROUPS = ("image/", "audio/", "video/", "font/", "model/")
SHOWN_TYPES = frozenset(
    {
        ANY_BYTES,
        "application/gzip",
        "application/json",
        "application/pdf",
        "application/zip",
        "text/csv",
        "text/markdown",
        "text/plain",
        "text/vtt",
    }
)
"""Types of users' files that browsers show or play and never run, beside groups of them; all others are to be saved."""
NO_RIGHTS = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
"""What a file that could run may do where a browser opens it all the same: nothing."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture made for one answer."""

    body: bytes
    content_type: str


def content_type(name: str) -> str:
    """The content type for a file name; bytes of no known kind for an unknown ending."""
    ending = Path(name).suffix.lower()
    known = CONTENT_TYPES.get(ending)  # of the rest only the ending is asked for: a name may look like an address
    return known or mimetypes.guess_type(f"x{ending}", strict=False)[0] or ANY_BYTES


def is_active(kind: str) -> bool:
    """Tell whether a browser may run a file of this type, or render it as a page of this server."""
    return kind.endswith("xml") or not (kind in SHOWN_TYPES or kind.startswith(SHOWN_GROUPS))


def file_headers(name: str, destination: str = "") -> dict[str, str]:
    """Headers of a user's file: what could run in a browser is sent as plain bytes to save.

    `destination` is what the request's Sec-Fetch-Dest says the file is for: an SVG that is drawn as a picture runs
    nothing, and pages show it so.
    """
    kind = content_type(name)
    disposition = f'filename="{_quotable(name)}"'
    headers = {"X-Content-Type-Options": "nosniff"}
    if is_active(kind):
        headers |= {"Vary": "Sec-Fetch-Dest", "Content-Security-Policy": NO_RIGHTS}
        if (kind, destination) != (SVG, "image"):
            kind, disposition = ANY_BYTES, f"attachment; {disposition}"
    return {"Content-Type": kind, "Content-Disposition": disposition, **headers}


def _quotable(name: str) -> str:
    return "".join("_" if letter in '"\\' or category(letter) in ("Cc", "Cs") else letter for letter in name)


def shown(source: Source, wish: str | None, channel: str) -> Encoded:
    """A picture file as /view is asked for it, a large one by another process; see `encoded`."""
    if pixels(source) <= MOST_PIXELS:
        return encoded(source, wish, channel)
    return Encoded(largepicture.shown(source, wish, channel), f"image/{_form(wish, channel)}")


def preview(source: Source, wish: str = "webp", channel: str = "") -> Encoded:
    """A picture file re-encoded, a large one by another process; see `encoded`."""
    return shown(source, wish, channel)


def encoded(source: Source, wish: str | None, channel: str) -> Encoded:
    """A picture file re-encoded as `wish` says: `webp` or `jpeg`, then perhaps `;` and a quality.

    Any other word means webp, and so does any `channel` that asks for alpha. Without a wish it is a PNG: of the colours
    for the channel `rgb`, else of the alpha over black (opaque if there is none). BadInput if the file is no picture.
    """
    form = _form(wish, channel)
    if wish is None:
        return _encode(_open(source).convert("RGB") if channel == "rgb" else _alpha_only(_open(source)), form)
    quality_text = wish.partition(";")[2]
    quality = min(max(int(quality_text), 1), 100) if re.fullmatch("[0-9]{1,9}", quality_text) else 90
    image = _open(source)
    return _encode(image.convert("RGB") if form == "jpeg" or channel == "rgb" else image, form, quality)


def pixels(source: Source) -> int:
    """How many pixels a picture file says it has; BadInput if it is none."""
    size = _open(source, load=False).size
    source.seek(0)
    return size[0] * size[1]


def _form(wish: str | None, channel: str) -> str:
    if wish is None:
        return "png"
    word = wish.partition(";")[0]
    return word if word in ("webp", "jpeg") and "a" not in channel else "webp"


def _alpha_only(image: Image) -> Image:
    from PIL import Image

    alpha = image.convert("RGBA").getchannel("A")
    black = Image.new("RGBA", image.size)
    black.putalpha(alpha)
    return black


def with_alpha_of(original: Path, mask: bytes, ending: str) -> bytes:
    """A picture's colours and PNG texts with the alpha of another one, in the format that `ending` names.

    Raises BadInput if either is no picture, the sizes differ, or the format has no alpha.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    with original.open("rb") as file:
        image = _open(file)
    alpha = _open(io.BytesIO(mask)).convert("RGBA").getchannel("A")
    if alpha.size != image.size:
        raise BadInput(f"the mask measures {alpha.size}, its original {image.size}")
    texts = PngInfo()
    for key, value in getattr(image, "text", {}).items():
        texts.add_text(key, value)
    joined = image.convert("RGBA")
    joined.putalpha(alpha)
    kind = Image.registered_extensions().get(ending.lower())
    if kind is None:
        raise BadInput(f"{ending or 'a name without ending'}: no picture format of that name")
    buffer = io.BytesIO()
    try:
        joined.save(buffer, format=kind, compress_level=4, pnginfo=texts)
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(f"a mask cannot be stored as {kind}: {error}") from error
    return buffer.getvalue()


def _open(source: Source, *, load: bool = True) -> Image:
    from PIL import Image

    try:
        image = Image.open(source)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"not a picture that can be read: {error}") from error
    return _loaded(image) if load else image


def _loaded(image: Image) -> Image:
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput(f"not a picture that can be read: {error}") from error
    return image


def _encode(image: Image, kind: str, quality: int = 90) -> Encoded:
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=kind, quality=quality)
    except (OSError, ValueError) as error:
        raise BadInput(f"the picture cannot be shown as {kind}: {error}") from error
    return Encoded(buffer.getvalue(), f"image/{kind}")
