"""STYLE_MODELs: what a vision model saw, as tokens that stand beside a text's. Knows no node and no sampler.

T2I-Adapter's style adapter (Mou et al. 2023, arXiv:2302.08453) and Flux Redux (as diffusers' ReduxImageEncoder).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import ModelFileError, NodeInputError
from executor.inference.building import build_part
from executor.inference.detect import describe
from executor.inference.memory import Memory, Part
from executor.inference.vision import Output, VisionEncoder
from executor.inference.vision_names import transformers_names
from executor.inference.weights import WeightFile, read_weights

STYLE, REDUX = "style_embedding", "redux_up.weight"
"""Tensors by which the two kinds are known."""
HEADS = 8
FITS = "a style adapter of T2I-Adapter or a Flux Redux model fits here"


class StyleStack(nn.Module):
    """The transformer of a style adapter, named as a vision model's."""

    def __init__(self, width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.pre_layrnorm, self.post_layernorm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.encoder = VisionEncoder(width, HEADS, inner, layers, "quick_gelu")


class StyleAdapter(nn.Module):
    """Hidden states of a picture to a few tokens of style."""

    def __init__(self, style: Tensor, inner: int, layers: int, out: int) -> None:
        """`style` [1, N, C] has the sizes of the trained tokens."""
        super().__init__()
        width = style.shape[-1]
        self.style_embedding = nn.Parameter(torch.empty(style.shape))
        self.vision_model = StyleStack(width, inner, layers)
        self.visual_projection = nn.Linear(width, out, bias=False)

    @property
    def width(self) -> int:
        """Width of the hidden states it takes."""
        return self.style_embedding.shape[-1]

    def forward(self, hidden: Tensor) -> Tensor:
        """Tokens [B, N, out] of hidden states [B, T, C]."""
        asked = self.style_embedding.to(hidden).expand(len(hidden), -1, -1)
        x = self.vision_model.pre_layrnorm(torch.cat([hidden, asked], dim=1))
        for layer in self.vision_model.encoder.layers:
            x = layer(x)
        styled = self.vision_model.post_layernorm(x[:, -asked.shape[1] :])
        return self.visual_projection(styled)  # type: ignore[no-any-return]


class Redux(nn.Module):
    """Hidden states of a picture to as many tokens of text."""

    def __init__(self, width: int, inner: int, out: int) -> None:
        super().__init__()
        self.redux_up, self.redux_down = nn.Linear(width, inner), nn.Linear(inner, out)

    @property
    def width(self) -> int:
        """Width of the hidden states it takes."""
        return self.redux_up.in_features

    def forward(self, hidden: Tensor) -> Tensor:
        """Tokens [B, T, out] of hidden states [B, T, C]."""
        return self.redux_down(functional.silu(self.redux_up(hidden)))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StyleModel:
    """The STYLE_MODEL that nodes hand around."""

    part: Part[StyleAdapter] | Part[Redux]
    memory: Memory

    @property
    def leads_by_attention(self) -> bool:
        """Whether the networks it is for can be told how much their attention minds its tokens."""
        return isinstance(self.part.module, Redux)

    def get_cond(self, output: Output) -> Tensor:
        """Tokens [B, N, C] of what a vision model saw, on the CPU.

        Raises NodeInputError for a vision model of another width.
        """
        hidden, width = output.last_hidden_state, self.part.module.width
        if hidden.shape[-1] != width:
            reason = f"input 'clip_vision_output': this style model takes hidden states of width {width}"
            raise NodeInputError(f"{reason}, and the vision model gave {hidden.shape[-1]}; take the one it belongs to")
        self.memory.load(self.part)
        with torch.no_grad():
            tokens: Tensor = self.part.module(hidden.to(self.part.device, self.part.dtype))
        return tokens.float().cpu()


def load_style_model(path: Path, memory: Memory) -> StyleModel:
    """The style model of a file; ModelFileError when it is broken or holds none."""
    file = read_weights(path)
    try:
        if STYLE in file.tensors:
            return StyleModel(part=build_adapter(file), memory=memory)
        if REDUX in file.tensors:
            up, down = file.tensors[REDUX], file.tensors["redux_down.weight"]
            keys = {name: name for name in file.tensors}
            part = build_part(file, "style model", "text", lambda: Redux(up.shape[1], len(up), len(down)), keys)
            return StyleModel(part=part, memory=memory)
    except KeyError as error:
        raise ModelFileError(path, f"its style model lacks {error.args[0]}") from error
    raise ModelFileError(path, f"looks like {describe(file.tensors)[0]}", FITS)


def build_adapter(file: WeightFile) -> Part[StyleAdapter]:
    """The adapter of a file, whose layers are named as OpenAI's."""
    renamed = {name.replace("transformer_layes.", "transformer.resblocks."): t for name, t in file.tensors.items()}
    inside = {
        **transformers_names({f"visual.{name}": tensor for name, tensor in renamed.items()}),
        STYLE: file.tensors[STYLE],
    }
    inner = len(inside["vision_model.encoder.layers.0.mlp.fc1.weight"])
    depth = len({name.split(".")[3] for name in inside if name.startswith("vision_model.encoder.layers.")})
    out = len(inside["visual_projection.weight"])
    whole = WeightFile(path=file.path, tensors=inside)
    keys = {name: name for name in inside}
    return build_part(whole, "style model", "text", lambda: StyleAdapter(inside[STYLE], inner, depth, out), keys)
