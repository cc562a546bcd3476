"""Draws captions with an exported checkpoint, judges the pictures and makes a contact sheet."""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from training.diffusion import sample
from training.drawing import to_bytes
from training.export import CHECKPOINT, load
from training.grammar import Scene, draw_pair
from training.judge import judge, see
from training.latents import SCALE
from training.text import compact_ids, compact_table

NEEDED = ("shape", "colour", "background", "place", "count")


def pictures_of(
    path: Path, captions: list[str], side: int, seed: int, steps: int = 20, guidance: float = 2.5
) -> tuple[np.ndarray, float]:
    """Pictures (B, side, side, 3), bytes, of captions, and the seconds that one took."""
    text, unet, vae, _ = load(path)
    table, parts, start = compact_table(), [], time.monotonic()
    with torch.no_grad():
        empty = text(compact_ids([""], table))
        for first in range(0, len(captions), 16):
            context = text(compact_ids(captions[first : first + 16], table))
            latent = sample(unet, context, empty, side // 8, seed + first, steps, guidance)
            parts.append(to_bytes(vae.decode(latent / SCALE)))
    return np.concatenate(parts), (time.monotonic() - start) / len(captions)


def random_pairs(count: int, seed: int) -> list[tuple[Scene, str]]:
    """Complete captions drawn from the grammar, with their scenes."""
    rng = random.Random(f"evaluate {seed}")
    return [draw_pair(rng, complete=True) for _ in range(count)]


def wrapped(caption: str, width: int = 27) -> str:
    """The caption in lines of at most `width` characters."""
    lines = [""]
    for word in caption.split():
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def contact_sheet(pictures: np.ndarray, captions: list[str], passed: list[bool], columns: int = 8) -> Image.Image:
    """A sheet of pictures with their captions beneath, failed ones in red."""
    edge, foot = 176, 50
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * edge, rows * (128 + foot + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = index % columns * edge, index // columns * (128 + foot + 8)
        sheet.paste(Image.fromarray(picture).resize((128, 128), Image.Resampling.LANCZOS), (x + 24, y + 6))
        pen.multiline_text((x + 4, y + 137), wrapped(captions[index]), "black" if passed[index] else "red", spacing=1)
    return sheet


def main() -> None:
    """Command line: prints how many captions were obeyed, per seed, and writes the sheet of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=CHECKPOINT)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, nargs="+", default=[2.5])
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for guidance in options.cfg:
        for seed in options.seeds:
            pairs = random_pairs(options.count, seed)
            captions = [caption for _, caption in pairs]
            found, seconds = pictures_of(options.file, captions, options.side, 1000 * seed, options.steps, guidance)
            verdicts = [judge(picture, scene) for picture, (scene, _) in zip(found, pairs, strict=True)]
            passed = [all(verdict[name] for name in NEEDED) for verdict in verdicts]
            shares = {name: sum(verdict[name] for verdict in verdicts) for name in (*NEEDED, "clean")}
            overlap = np.mean([see(picture).overlap for picture in found])
            report = {
                "side": options.side,
                "cfg": guidance,
                "seed": seed,
                "passed": sum(passed),
                "of": len(passed),
                **shares,
            }
            print(json.dumps(report | {"overlap": round(float(overlap), 3), "seconds": round(seconds, 2)}), flush=True)
            if options.sheet and seed == options.seeds[0]:
                contact_sheet(found, captions, passed).save(options.sheet)


if __name__ == "__main__":
    main()
