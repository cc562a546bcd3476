"""Judges pictures of coloured shapes: which shape, colours, place and count a picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from training.grammar import COLOURS, COUNTS, SHAPES, Scene

GRID = 48
LEAST_SHARE = 0.004  # of the picture: smaller specks are not objects
LEAST_OVERLAP = 0.72
FLAT = 60.0  # distance in RGB within which a pixel counts as of a palette colour


@dataclass(frozen=True)
class Seen:
    """What a picture shows; `shape`, `colour` and `place` are empty where nothing clear is seen."""

    shape: str = ""
    colour: str = ""
    background: str = ""
    place: str = ""
    count: int = 0
    overlap: float = 0.0
    clean: float = 0.0


def palette() -> np.ndarray:
    """The colours (C, 3)."""
    return np.array(list(COLOURS.values()), np.float32)


def nearest_colours(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index (H, W) of the nearest palette colour of every pixel and the distance to it."""
    apart = np.linalg.norm(picture[:, :, None, :].astype(np.float32) - palette(), axis=-1)
    return apart.argmin(-1), apart.min(-1)


def inner(labels: np.ndarray) -> np.ndarray:
    """Where (H, W) a pixel and its neighbours bear one label, so that blends along edges do not count."""
    framed = np.pad(labels, 1, mode="edge")
    height, width = labels.shape
    same = np.ones(labels.shape, bool)
    for dy in range(3):
        for dx in range(3):
            same &= framed[dy : dy + height, dx : dx + width] == labels
    return same


def components(mask: np.ndarray) -> list[np.ndarray]:
    """The connected parts (4 neighbours) of a mask as masks, largest first."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        before = labels
        for axis in (0, 1):
            for step in (1, -1):
                labels = sweep(labels, axis, step)
        if (labels == before).all():
            break
    numbers, sizes = np.unique(labels[labels > 0], return_counts=True)
    return [labels == numbers[index] for index in np.argsort(-sizes)]


def sweep(labels: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Carries the largest label along one direction through each unbroken run."""
    lines = np.moveaxis(labels, axis, 0)[::step].copy()
    for index in range(1, len(lines)):
        lines[index] = np.where(
            lines[index] > 0, np.maximum(lines[index], np.where(lines[index] > 0, lines[index - 1], 0)), 0
        )
    return np.moveaxis(lines[::step], 0, axis)


def normalised(mask: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """The mask on a GRID x GRID raster, its centroid in the middle and its root-mean-square extent a fixed part."""
    ys, xs = np.nonzero(mask)
    cy, cx = ys.mean(), xs.mean()
    extent = np.sqrt(((ys - cy) ** 2 + (xs - cx) ** 2).mean() + 1e-6) * 2.1 / zoom
    axis = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    rows = np.rint(cy + axis * extent).astype(int)
    columns = np.rint(cx + axis * extent).astype(int)
    inside = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & ((columns >= 0) & (columns < mask.shape[1]))[None, :]
    picked = mask[rows.clip(0, mask.shape[0] - 1)][:, columns.clip(0, mask.shape[1] - 1)]
    return picked & inside


@cache
def templates() -> tuple[np.ndarray, ...]:
    """Normalised masks (Z, GRID, GRID) of every shape, at some zooms."""
    from training.drawing import coverage

    side = 256
    masks = [coverage([Scene(shape, "red", "blue", radius=0.3)], side)[0, 0].numpy() > 0.5 for shape in SHAPES]
    return tuple(np.stack([normalised(mask, zoom) for zoom in (0.94, 1.0, 1.06)]) for mask in masks)


def shape_overlaps(mask: np.ndarray) -> np.ndarray:
    """Best intersection over union of a mask with every shape's templates (S,)."""
    found = normalised(mask)
    best = []
    for stack in templates():
        tries = [np.roll(found, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        scores = [(stack & one).sum((1, 2)) / (stack | one).sum((1, 2)) for one in tries]
        best.append(np.max(scores))
    return np.array(best)


def place_of(x: float, y: float) -> str:
    """Name of the place of a centre, in parts of the side."""
    rows = "top" if y < 0.4 else "bottom" if y > 0.6 else ""
    columns = "left" if x < 0.4 else "right" if x > 0.6 else ""
    return f"{rows} {columns}".strip() or "center"


def see(picture: np.ndarray) -> Seen:
    """What a picture (H, W, 3), bytes, shows."""
    labels, apart = nearest_colours(picture)
    sure = inner(labels) & (apart < FLAT)
    counts = np.bincount(labels[sure], minlength=len(COLOURS))
    frame = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    back = int(np.bincount(frame, minlength=len(COLOURS)).argmax())
    counts[back] = 0
    names, front = list(COLOURS), int(counts.argmax())
    if not counts[front]:
        return Seen(background=names[back])
    colours = palette()
    line = colours[front] - colours[back]
    along = ((picture - colours[back]) @ line) / (line @ line)
    off_line = np.linalg.norm(picture - colours[back] - along.clip(0, 1)[..., None] * line, axis=-1)
    parts = [part for part in components(along > 0.5) if part.sum() > LEAST_SHARE * labels.size]
    if not parts:
        return Seen(background=names[back])
    overlaps = np.stack([shape_overlaps(part) for part in parts[:3]]).mean(0)
    best = int(overlaps.argmax())
    ys, xs = np.nonzero(np.any(parts, axis=0))
    place = place_of((xs.min() + xs.max() + 1) / 2 / picture.shape[1], (ys.min() + ys.max() + 1) / 2 / picture.shape[0])
    clean = float((off_line < FLAT).mean())
    shape = SHAPES[best] if overlaps[best] >= LEAST_OVERLAP else ""
    return Seen(shape, names[front], names[back], place, len(parts), float(overlaps[best]), clean)


def judge(picture: np.ndarray, scene: Scene) -> dict[str, bool]:
    """For every attribute that the caption told, whether the picture (H, W, 3) shows it."""
    seen = see(picture)
    verdicts = {
        "shape": seen.shape == scene.shape,
        "colour": seen.colour == scene.colour,
        "background": seen.background == scene.background,
        "place": seen.place == scene.place,
        "count": seen.count == COUNTS.index(scene.count) + 1,
    }
    return {name: verdict for name, verdict in verdicts.items() if name in scene.told} | {"clean": seen.clean > 0.97}


def validate(count: int, side: int, seed: int = 0) -> dict[str, int]:
    """How many true drawings pass under their own scene, and how many under another, different one."""
    import random

    from training.drawing import draw, to_bytes
    from training.grammar import draw_scene

    rng = random.Random(f"judge {seed}")
    scenes = [draw_scene(rng) for _ in range(count)]
    pictures = to_bytes(draw(scenes, side))
    fields = ("shape", "colour", "background", "place", "count")
    others = [scenes[index - 1] for index in range(count)]
    fooled = sum(
        all(judge(picture, other).values())
        for picture, scene, other in zip(pictures, scenes, others, strict=True)
        if any(getattr(scene, field) != getattr(other, field) for field in fields)
    )
    right = sum(all(judge(picture, scene).values()) for picture, scene in zip(pictures, scenes, strict=True))
    return {"side": side, "drawings": count, "passed": right, "passed under another scene": fooled}


if __name__ == "__main__":
    for length in (64, 128, 256):
        print(validate(128, length))
