"""Names of k-diffusion's utilities that packs use. Knows no sampler."""

from __future__ import annotations

from pathlib import Path

from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


class FolderOfImages:
    """The pictures of a folder and the folders below it, as PIL images."""

    IMG_EXTENSIONS = {".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # noqa: RUF012

    def __init__(self, root: str, transform: object = None) -> None:
        self.root = Path(root)
        self.transform = transform
        self.paths = sorted(path for path in self.root.rglob("*") if path.suffix.lower() in self.IMG_EXTENSIONS)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int) -> tuple[object, ...]:
        from PIL import Image

        with Image.open(self.paths[key]) as file:
            picture = file.convert("RGB")
        return (self.transform(picture) if callable(self.transform) else picture,)
