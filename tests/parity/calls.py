"""Compares single calls of nodes and tiles: ops_image, ops_latent, ops_mask, conditioning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from executor.inference.tiling import tiled_scale
from tests.parity.nodes import call, filled, registry
from tests.parity.recording import Check, Figure, Recording, absolute, exact, relative
from tests.parity.toys import toy_model, zeros

ROUGH, FINE = 1e-4, 1e-5
EIGHT_BITS = 1 / 255 + 1e-6
FEW = 0.01  # of the pixels may fall to another colour of a palette
SAMPLED = 1e-4
CALL = re.compile(r"\b((?:Set|Conditioning)\w+)\(([^()]*)\)|\b([abcC])\b")


def checks(recording: Recording) -> Iterator[Check]:
    """Every case of these files."""
    for file in ("ops_image", "ops_latent", "ops_mask", "conditioning"):
        for name, case in recording.cases(file).items():
            kind = name.split("/")[0]
            compare = node_call if "node" in case else OTHERS.get(kind, unclaimed)
            yield Check(file=file, name=name, measure=partial(compare, recording, file, name))


def unclaimed(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """A kind of case that nobody knows how to compare: it fails by its name."""
    raise LookupError(f"no comparison knows cases like {name!r} of {file}")


def tolerance(file: str, node: str, inputs: dict[str, Any]) -> float:
    """How far a call may be off (numeric README, tolerances)."""
    if file == "conditioning":
        return 1e-6
    methods = {str(value) for name, value in inputs.items() if name in ("upscale_method", "interpolation")}
    if "lanczos" in methods:
        return EIGHT_BITS
    return ROUGH if methods & {"bicubic", "bislerp"} or "Sharpen" in node or "YUV" in node else FINE


def node_call(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """Everything that one call of a node answers."""
    case = recording.cases(file)[name]
    inputs = filled(recording, file, case["inputs"])
    found, recorded = call(case["node"], **inputs), filled(recording, file, case["outputs"])
    if case["node"] == "ImageQuantize":
        off = ((found[0] - recorded[0]).abs().amax(dim=-1) > FINE).double().mean()
        yield Figure(part="pixels of another colour", error=float(off), bound=FEW)
        return
    yield from figures("out", found, recorded, tolerance(file, case["node"], inputs))


def figures(place: str, actual: Any, expected: Any, bound: float) -> Iterator[Figure]:
    """Differences of nested answers, tensor by tensor."""
    if isinstance(expected, Tensor):
        yield absolute(place, actual, expected, bound)
    elif isinstance(expected, dict):
        yield exact(f"{place} keys", set(actual), set(expected))
        for key in expected:
            yield from figures(f"{place}.{key}", actual[key], expected[key], bound)
    elif isinstance(expected, list):
        yield exact(f"{place} items", len(actual), len(expected))
        for index, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
            yield from figures(f"{place}[{index}]", mine, theirs, bound)
    elif isinstance(expected, float):
        yield Figure(part=place, error=abs(actual - expected), bound=bound)
    else:
        yield exact(place, actual, expected)


class ToyVae:
    """8x8 average pool of the colours, and their mean as the fourth channel; keeps the pixels it was given."""

    def __init__(self) -> None:
        self.pixels = torch.empty(0)

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents [B, 4, H/8, W/8]."""
        self.pixels = pixels
        pooled = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat((pooled, pooled.mean(dim=1, keepdim=True)), dim=1)


def recorded_parts(recording: Recording, file: str, name: str) -> dict[str, Tensor]:
    """The tensors under a case's name."""
    keys = [key for key in recording.tensors(file) if key.startswith(f"{name}/")]
    return {key.removeprefix(f"{name}/"): recording.tensor(file, key) for key in keys}


def encoded_for_inpaint(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """VAEEncodeForInpaint on the toy VAE."""
    parts, vae = recorded_parts(recording, file, name), ToyVae()
    given = {key: parts.pop(key) for key in ("pixels", "mask")}
    grow = recording.cases(file)[name]["grow_mask_by"]
    [latent] = call("VAEEncodeForInpaint", vae=vae, grow_mask_by=grow, **given)
    yield from figures("out", {**latent, "encoded_pixels": vae.pixels}, parts, FINE)


def conditioned_for_inpaint(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """InpaintModelConditioning on the toy VAE, with the pictures of the case beside it."""
    parts = recorded_parts(recording, file, name)
    beside = name.replace("InpaintModelConditioning", "VAEEncodeForInpaint")
    given = {key: parts.pop(key, None) for key in ("pixels", "mask")}
    for key, value in given.items():
        given[key] = recording.tensor(file, f"{beside}/{key}") if value is None else value
    plain = [[torch.zeros(1, 2, 4), {}]]
    sides = {"positive": plain, "negative": plain}
    positive, negative, latent = call("InpaintModelConditioning", **sides, vae=ToyVae(), noise_mask=True, **given)
    yield from figures("out", {**latent, **positive[0][1]}, parts, FINE)
    yield from figures("negative", negative[0][1], {key: parts[key] for key in negative[0][1]}, FINE)


def tiled(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """Tiles of a toy decoder blended into one picture."""
    case = recording.cases(file)[name]

    def decoder(tile: Tensor) -> Tensor:
        grown = tile[:, :3].repeat_interleave(case["upscale"], -1).repeat_interleave(case["upscale"], -2)
        across, down = torch.linspace(0, 1, grown.shape[-1]), torch.linspace(0, 1, grown.shape[-2])
        return grown + across + 2 * down[:, None]

    size = case["tile_x"], case["tile_y"], case["overlap"]
    given = recording.tensor(file, f"{name}/in")
    found = tiled_scale(given, decoder, *size, upscale_amount=case["upscale"], out_channels=3)
    yield absolute("out", found[:, :, ::3, ::3], recording.tensor(file, f"{name}/out"), FINE)


def numbers(text: str) -> list[str]:
    """The arguments of a described call."""
    return [part.strip() for part in text.split(",")]


def area(entry: Any, arguments: list[str], cells: tuple[int, int], node: str) -> Any:
    """A described area: in pixels, in parts of the picture, or one half of it."""
    if arguments[0].endswith("half"):
        half = cells[1] * 8 // 2
        box = {"width": half, "height": cells[0] * 8, "x": half if "right" in arguments[0] else 0, "y": 0}
        return call(node, conditioning=entry, strength=1.0, **box)[0]
    number = float if "Percentage" in node else int
    named = dict(part.split("=") for part in arguments if "=" in part)
    bare = [part for part in arguments if "=" not in part]
    strength = float(bare[0] if bare else named.pop("strength", "1"))
    full = {"w": "width", "h": "height"}
    box = {full.get(name, name): number(value) for name, value in named.items()}
    return call(node, conditioning=entry, strength=strength, **box)[0]


def described_entry(recording: Recording, kind: str, text: str, cells: tuple[int, int]) -> Any:
    """The CONDITIONING that `SetArea(a, ...)` and its like describe."""
    name, *arguments = numbers(text)
    entry = [[recording.tensor("conditioning", f"in/{name}"), {}]]
    node = kind if kind.startswith("Conditioning") else f"Conditioning{kind}"
    match kind.removeprefix("Conditioning"):
        case "SetArea" | "SetAreaPercentage":
            return area(entry, arguments, cells, node)
        case "SetAreaStrength":
            return call(node, conditioning=entry, strength=float(arguments[0]))[0]
        case "SetMask":
            mask = recording.tensor("conditioning", f"in/{arguments[0]}")
            return call(node, conditioning=entry, mask=mask, strength=float(arguments[1]), set_cond_area=arguments[2])[
                0
            ]
        case "SetTimestepRange":
            return call(node, conditioning=entry, start=float(arguments[0]), end=float(arguments[1]))[0]
        case "Average":
            other = [[recording.tensor("conditioning", f"in/{arguments[0]}"), {}]]
            given = {"conditioning_to": entry, "conditioning_from": other}
            return call(node, **given, conditioning_to_strength=float(arguments[1]))[0]
        case "ZeroOut":
            return call(node, conditioning=entry)[0]
    raise LookupError(f"no node is known for {kind!r}")


def described_side(recording: Recording, text: str, cells: tuple[int, int]) -> list[Any]:
    """All entries that a description joins."""
    entries: list[Any] = []
    for kind, arguments, bare in CALL.findall(text):
        if kind:
            entries += described_entry(recording, kind, arguments, cells)
        else:
            entries.append([recording.tensor("conditioning", f"in/{bare.lower()}"), {}])
    return entries


def sampled_conditions(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """The final latents of a KSampler under areas, masks, strengths and ranges as described."""
    case = recording.cases(file)[name]
    latent = zeros(case["latent"])
    cells = (latent.shape[2], latent.shape[3])
    positive, _cut, negative = re.sub(r"[,;] negative\b", "|negative", case["what"]).partition("|")
    text = {"positive": positive, "negative": negative}
    sides = {"negative": [[recording.tensor(file, "in/neg"), {}]]}
    for which, described in text.items():
        if described or which == "positive":
            sides[which] = described_side(recording, described, cells)
    given = {key: case[key] for key in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")}
    model = toy_model(recording, case["model"])
    [found] = call("KSampler", model=model, latent_image={"samples": latent}, **given, **sides)
    row = re.match(r"row (\d+)", case["stored"])
    samples = found["samples"][int(row[1])][None] if row else found["samples"]
    yield relative("final", samples, recording.tensor(file, name), SAMPLED)


def operated(recording: Recording, file: str, name: str) -> Iterator[Figure]:
    """A latent after a described operation, `LatentOperation…(options) on in/latent`."""
    described = re.fullmatch(r"(\w+)\((.*)\) on (\S+)", recording.cases(file)[name]["op"])
    if described is None:
        raise LookupError(f"{recording.cases(file)[name]['op']!r} describes no operation")
    node, options, latent = described.groups()
    definition, _ = registry().get(node)
    given = numbers(options)
    inputs = dict(part.split("=") for part in given if "=" in part)
    unnamed = [part for part in given if "=" not in part]
    inputs |= dict(zip([field.name for field in definition.inputs], unnamed, strict=False))
    types = {field.name: int if field.type == "INT" else float for field in definition.inputs}
    [operation] = call(node, **{key: types[key](value) for key, value in inputs.items()})
    [found] = call("LatentApplyOperation", samples={"samples": recording.tensor(file, latent)}, operation=operation)
    yield absolute("out", found["samples"], recording.tensor(file, name), ROUGH if "Sharpen" in node else FINE)


OTHERS = {
    "LatentApplyOperation": operated,
    "sample": sampled_conditions,
    "VAEEncodeForInpaint": encoded_for_inpaint,
    "InpaintModelConditioning": conditioned_for_inpaint,
    "tiled_scale": tiled,
}
