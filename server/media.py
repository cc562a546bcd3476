"""Files as /view shows them: content types, headers, re-encoded previews and single channels. Knows no routes.

Pillow is imported on first use: the front has to answer before it is loaded. Every picture function is slow and belongs
in a thread.
"""

from __future__ import annotations

import io
import mimetypes
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from unicodedata import category

from executor.errors import BadInput

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

Source = Path | BinaryIO
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
        headers |= {"Vary": "Sec-Fetch-Dest", "Cache-Control": "no-store", "Content-Security-Policy": NO_RIGHTS}
        if (kind, destination) != (SVG, "image"):
            kind, disposition = ANY_BYTES, f"attachment; {disposition}"
    return {"Content-Type": kind, "Content-Disposition": disposition, **headers}


def _quotable(name: str) -> str:
    return "".join("_" if letter in '"\\' or category(letter) in ("Cc", "Cs") else letter for letter in name)


def preview(source: Source, wish: str, channel: str) -> Encoded:
    """A picture file re-encoded as `wish` says: `webp` or `jpeg`, then perhaps `;` and a quality.

    Any other word means webp, and so does any `channel` that asks for alpha. BadInput if the file is no picture.
    """
    word, _, quality_text = wish.partition(";")
    kind = word if word in ("webp", "jpeg") and "a" not in channel else "webp"
    quality = min(max(int(quality_text), 1), 100) if quality_text.isdecimal() else 90
    image = _open(source)
    if kind == "jpeg" or channel == "rgb":
        image = image.convert("RGB")
    return _encode(image, kind, quality)


def without_alpha(source: Source) -> Encoded:
    """A picture file as a PNG of its colours; BadInput if the file is no picture."""
    return _encode(_open(source).convert("RGB"), "png")


def alpha_only(source: Source) -> Encoded:
    """A picture file's alpha over black, as an RGBA PNG (opaque if it has none); BadInput if it is no picture."""
    from PIL import Image

    image = _open(source)
    alpha = image.convert("RGBA").getchannel("A")
    black = Image.new("RGBA", image.size)
    black.putalpha(alpha)
    return _encode(black, "png")


def with_alpha_of(original: Path, mask: bytes, ending: str) -> bytes:
    """A picture's colours and PNG texts with the alpha of another one, in the format that `ending` names.

    Raises BadInput if either is no picture, the sizes differ, or the format has no alpha.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image = _open(original)
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


def require_picture(source: Source) -> None:
    """Raise BadInput for what is no picture, or one too large to decode; only its beginning is read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.open(source).close()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"not a picture that can be read: {error}") from error


def _open(source: Source) -> Image:
    from PIL import Image

    try:
        image = Image.open(source)
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"not a picture that can be read: {error}") from error
    return image


def _encode(image: Image, kind: str, quality: int = 90) -> Encoded:
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=kind, quality=quality)
    except (OSError, ValueError) as error:
        raise BadInput(f"the picture cannot be shown as {kind}: {error}") from error
    return Encoded(buffer.getvalue(), f"image/{kind}")
