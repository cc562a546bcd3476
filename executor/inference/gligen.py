"""GLIGEN (Li et al. 2023, arXiv:2301.07093): texts that are placed in boxes. Knows no node and no sampler.

A position network makes a token of each text and its box; a gated attention in every transformer block, between its
own two, lets the cells look at these tokens. Names are those of the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from executor.errors import ModelFileError, NodeInputError
from executor.inference.building import build_part
from executor.inference.conditions import Condition
from executor.inference.detect import describe
from executor.inference.diffusion import TOKENS
from executor.inference.hooks import Options
from executor.inference.memory import Memory, Part
from executor.inference.unet_layers import CrossAttention, FeedForward
from executor.inference.weights import WeightFile, read_weights

OPTION = "gligen"
"""What a conditioning calls its boxes."""
MOST = 30  # tokens at each call; those without a text are the trained empty ones
WAVES, BASE = 8, 100.0
HIDDEN = 512
FUSER = re.compile(r"(input|middle|output)_blocks?\.(?:(\d+)\.)?\d+\.transformer_blocks\.(\d+)\.fuser\.(.+)")
FITS = "a GLIGEN model of text boxes fits here"
Box = tuple[Tensor, int, int, int, int]
"""A text's vector [1, P], and height, width, y and x in latent cells."""


class PositionNet(nn.Module):
    """Texts' vectors and boxes to tokens."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linears = nn.Sequential(
            nn.Linear(width + 8 * WAVES, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, out),
        )
        self.null_positive_feature = nn.Parameter(torch.empty(width))
        self.null_position_feature = nn.Parameter(torch.empty(8 * WAVES))

    def forward(self, texts: Tensor, corners: Tensor) -> Tensor:
        """Tokens [30, C] of up to 30 texts [N, P] and their corners left, top, right, bottom [N, 4] in 0..1."""
        frequencies = BASE ** (torch.arange(WAVES, device=corners.device) / WAVES)
        angles = corners[:, None, :] * frequencies[None, :, None]  # [N, waves, 4]
        waves = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
        there = torch.cat([texts, waves.to(texts)], dim=1)
        empty = torch.cat([self.null_positive_feature, self.null_position_feature]).to(texts)
        rows = torch.cat([there, empty.expand(MOST - len(there), -1)])
        return self.linears(rows)  # type: ignore[no-any-return]


class Fuser(nn.Module):
    """Gated attention of cells to tokens, and a gated feed-forward."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.linear = nn.Linear(tokens, width)
        self.attn = CrossAttention(width, width, next(n for n in range(8, 0, -1) if width % n == 0))
        self.ff = FeedForward(width, 4 * width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.alpha_attn, self.alpha_dense = nn.Parameter(torch.empty(())), nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Cells [B, N, C] that looked at tokens [B, 30, T]."""
        seen = self.norm1(torch.cat([x, self.linear(tokens)], dim=1))
        x = x + self.alpha_attn.to(x).tanh() * self.attn(seen)[:, : x.shape[1]]
        return x + self.alpha_dense.to(x).tanh() * self.ff(self.norm2(x))  # type: ignore[no-any-return]


class GligenNet(nn.Module):
    """The position network and the fusers by block, "input_1_0": side, block, transformer block."""

    def __init__(self, text: int, token: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.position_net = PositionNet(text, token)
        self.fusers = nn.ModuleDict({place: Fuser(width, token) for place, width in widths.items()})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gligen:
    """The GLIGEN that nodes hand around."""

    part: Part[GligenNet]
    memory: Memory

    def tokens(self, boxes: Sequence[Box], size: tuple[int, int]) -> Tensor:
        """Tokens [1, 30, C] of boxes in latents of a size (height, width), where the network computes.

        Raises NodeInputError for more boxes than there are tokens, or texts of another text model.
        """
        if len(boxes) > MOST:
            raise NodeInputError(f"GLIGEN places up to {MOST} texts, and this conditioning has {len(boxes)}")
        network = self.part.module.position_net
        width = len(network.null_positive_feature)
        texts = torch.cat([torch.zeros(0, width), *(box[0].float() for box in boxes if box[0].shape[-1] == width)])
        if len(texts) != len(boxes):
            reason = f"this GLIGEN model takes texts' vectors of width {width}, and the text model gives others"
            raise NodeInputError(f"{reason}. Encode them with the text encoder of SD1.x")
        rows = [(x / size[1], y / size[0], (x + w) / size[1], (y + h) / size[0]) for _, h, w, y, x in boxes]
        corners = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
        device, dtype = self.part.device, self.part.dtype
        return network(texts.to(device, dtype), corners.to(device))[None]  # type: ignore[no-any-return]

    def fuse(self, x: Tensor, options: Options) -> Tensor:
        """Cells [B, N, C] of the present transformer block that looked at the call's tokens."""
        side, number = cast("tuple[str, int]", options["block"])
        place, tokens = f"{side}_{number}_{options.get('block_index', 0)}", options.get(TOKENS)
        if place not in self.part.module.fusers or not isinstance(tokens, Tensor):
            return x
        fuser = cast(Fuser, self.part.module.fusers[place])
        if fuser.linear.out_features != x.shape[-1]:
            reason = f"this GLIGEN model is for cells of width {fuser.linear.out_features}, this network's has"
            raise NodeInputError(f"{reason} {x.shape[-1]}: take a checkpoint of the family that it was trained for")
        return fuser(x, tokens.to(x))  # type: ignore[no-any-return]


def load_gligen(path: Path, memory: Memory) -> Gligen:
    """The GLIGEN of a file; ModelFileError when it is broken or holds none of text boxes."""
    file = read_weights(path)
    found = {name: FUSER.fullmatch(name.removeprefix("model.diffusion_model.")) for name in file.tensors}
    keys = {name: module_key(match) for name, match in found.items() if match}
    keys |= {name: name for name in file.tensors if name.startswith("position_net.")}
    first = file.tensors.get("position_net.linears.0.weight")
    widths = {key.split(".")[1]: len(file.tensors[name]) for name, key in keys.items() if key.endswith("linear.weight")}
    if not widths or first is None:
        raise ModelFileError(path, f"looks like {describe(file.tensors)[0]}", FITS)
    token = next(file.tensors[name].shape[1] for name, key in keys.items() if key.endswith(".linear.weight"))
    text = first.shape[1] - 8 * WAVES
    whole = WeightFile(path=path, tensors=file.tensors, metadata=file.metadata)
    part = build_part(whole, "GLIGEN", "diffusion", lambda: GligenNet(text, token, widths), keys)
    return Gligen(part=part, memory=memory)


def module_key(found: re.Match[str]) -> str:
    """The module's name of a fuser's tensor."""
    side, number, block, rest = found.groups()
    return f"fusers.{side}_{number or 0}_{block}.{rest}".replace("middle_1_", "middle_0_")


def grounded(
    sides: Mapping[str, list[Condition]], options: dict[str, object], shape: torch.Size
) -> dict[str, list[Condition]]:
    """The conditions with the tokens of their boxes for latents of a shape, and the patch that uses them in `options`.

    Once one condition places texts, the others get the empty tokens, as in the training without texts. Raises
    NodeInputError when conditions place texts by more than one model.
    """
    models = list(dict.fromkeys(boxes[0] for side in sides.values() for each in side if (boxes := boxes_of(each))))
    if not models:
        return dict(sides)
    if len(models) > 1:
        raise NodeInputError("texts are placed by more than one GLIGEN model; take one for all of them")
    [model] = models
    model.memory.load(model.part)
    transformer_options = cast("dict[str, object]", options.setdefault("transformer_options", {}))
    patches = cast("dict[str, list[Callable[..., Tensor]]]", transformer_options.setdefault("patches", {}))
    patches["middle_patch"] = [*patches.get("middle_patch", []), model.fuse]

    def told(each: Condition) -> Condition:
        boxes = boxes_of(each)
        tokens = model.tokens(boxes[1] if boxes else (), (shape[-2], shape[-1]))
        return replace(each, extras={**each.extras, TOKENS: tokens})

    return {name: [told(each) for each in side] for name, side in sides.items()}


def boxes_of(condition: Condition) -> tuple[Gligen, Sequence[Box]] | None:
    """The model and the boxes of a condition, or None."""
    given = condition.options.get(OPTION)
    if not isinstance(given, tuple):
        return None
    _, model, boxes = given
    return cast(Gligen, model), cast("Sequence[Box]", boxes)
