"""What a request says of the answer it would like: how long to wait for it (RFC 7240), and in which form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

WAIT_S = 600.0
"""How long is waited where nothing is said."""
LONGEST_WAIT_S = 3600.0
_WAIT = re.compile(r'wait(?:\s*=\s*"?(\d{1,9})"?)?', re.IGNORECASE)

Kind = Literal["image", "video", "audio"]
_KINDS: tuple[Kind, ...] = ("image", "video", "audio")
FORMS = ("webp", "jpeg")
CONVERTIBLE = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff"})
"""Types of pictures that are sent in another form to who takes only that; a GIF would lose its other frames."""


def wait_of(headers: Iterable[str]) -> float | None:
    """The seconds that `Prefer: wait` or `wait=N` asks for, of all Prefer headers; None where none asks for it."""
    for header in headers:
        for preference in header.split(","):
            found = _WAIT.fullmatch(preference.partition(";")[0].strip())
            if found is not None:
                return WAIT_S if found[1] is None else min(float(found[1]), LONGEST_WAIT_S)
    return None


def kind_of(accept: str) -> Kind | None:
    """The kind of file that an Accept header likes best; None where it likes something else as well or better."""
    best, liked = 0.0, None
    for media, weight in _ranges(accept):
        if weight > best:
            best, liked = weight, media.partition("/")[0]
    return next((kind for kind in _KINDS if kind == liked), None)


def form_of(accept: str, media: str) -> str | None:
    """The form (`webp`, `jpeg`) in which an Accept header takes a picture of a type that it does not take as it is.

    None: it is to be sent as it is, because the header takes that, or because it takes neither form.
    """
    taken = {name: weight for name, weight in _ranges(accept) if weight > 0}
    if media not in CONVERTIBLE or not taken.keys().isdisjoint((media, "image/*", "*/*")):
        return None
    forms = {form: taken[f"image/{form}"] for form in FORMS if f"image/{form}" in taken}
    return max(forms, key=forms.__getitem__, default=None)


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """The types of an Accept header and their weights."""
    for item in accept.split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        yield media.lower(), _weight(parameters)


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
