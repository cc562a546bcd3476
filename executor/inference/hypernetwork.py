"""Hypernetworks: small networks that change what attentions read as keys and values. Know no diffusion model.

The form is that of NovelAI's files of 2022, which trainings since have kept: for each width of tokens a pair of
networks, one for keys and one for values, whose answer is added to the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import functional

from executor.errors import ModelFileError
from executor.inference.crossing import sent
from executor.inference.detect import describe
from executor.inference.hooks import Options
from executor.inference.weights import named_tensors, read_objects

Tensors: TypeAlias = Mapping[str, Tensor]
FITS = "a hypernetwork for SD1.x or SD2.x, as NovelAI's and later trainings save it, fits here"
FIRST_FORM = {"linear1": "linear.0", "linear2": "linear.1"}
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": functional.relu,
    "leakyrelu": functional.leaky_relu,
    "elu": functional.elu,
    "swish": functional.hardswish,
    "hardswish": functional.hardswish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": functional.softsign,
    "softplus": functional.softplus,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": functional.mish,
    "selu": functional.selu,
    "celu": functional.celu,
    "relu6": functional.relu6,
    "hardtanh": functional.hardtanh,
    "hardsigmoid": functional.hardsigmoid,
    "tanhshrink": functional.tanhshrink,
    "softshrink": functional.softshrink,
    "hardshrink": functional.hardshrink,
    "logsigmoid": functional.logsigmoid,
}
"""By the names that files give them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """Linear layers and norms, in order: (weight [out, in] or [C], bias)."""

    pairs: tuple[tuple[Tensor, Tensor | None], ...]
    activation: Callable[[Tensor], Tensor]
    activates_last: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Tokens [..., C] to their change [..., C], in their type."""
        given, last = x.dtype, max(place for place, (weight, _) in enumerate(self.pairs) if weight.ndim == 2)
        x = x.float()
        for place, (weight, bias) in enumerate(self.pairs):
            weight, bias = sent(weight, x.device), None if bias is None else sent(bias, x.device)
            if weight.ndim == 1:
                x = functional.layer_norm(x, weight.shape, weight, bias)
                continue
            x = functional.linear(x, weight, bias)
            if place < last or self.activates_last:
                x = self.activation(x)
        return x.to(given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hypernetwork:
    """The networks of one file by the width of the tokens that they change: (of keys, of values)."""

    networks: Mapping[int, tuple[Layers, Layers]]
    strength: float = 1.0

    def __call__(self, tokens: Tensor, context: Tensor, value: Tensor, options: Options) -> tuple[Tensor, ...]:
        """What an attention is given, keys and values changed: a patch of attn1 and attn2."""
        found = self.networks.get(context.shape[-1])
        if found is None:
            return tokens, context, value
        keys, values = found
        return tokens, context + self.strength * keys(context), value + self.strength * values(value)


def load_hypernetwork(path: Path, strength: float) -> Hypernetwork:
    """The hypernetwork of a file at a strength; ModelFileError when the file is broken or holds none."""
    content = read_objects(path)
    pairs = {width: pair for width, pair in ((width, pair_of(pair)) for width, pair in content.items()) if pair}
    if not pairs:
        raise ModelFileError(path, f"looks like {describe(named_tensors(path, content))[0]}", FITS)
    name = str(content.get("activation_func") or "linear").lower()
    if name not in ACTIVATIONS:
        raise ModelFileError(path, f"has the activation {name!r}", f"known are: {', '.join(ACTIVATIONS)}")
    last = bool(content.get("activate_output", False))
    networks = {}
    for width, (of_keys, of_values) in pairs.items():
        if isinstance(width, int):
            networks[width] = layers(path, of_keys, name, last), layers(path, of_values, name, last)
    return Hypernetwork(networks=networks, strength=strength)


def pair_of(entry: object) -> tuple[Tensors, Tensors] | None:
    """The two networks of an entry, as named tensors; None for an entry of another kind."""
    if isinstance(entry, list | tuple) and len(entry) >= 2 and all(isinstance(each, Mapping) for each in entry[:2]):
        return cast(Tensors, entry[0]), cast(Tensors, entry[1])
    return None


def layers(path: Path, tensors: Tensors, activation: str, activates_last: bool) -> Layers:
    """One network of named tensors; ModelFileError when it has no layer."""
    named = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        named[f"{FIRST_FORM.get(stem, stem)}.{kind}"] = tensor.float()
    places = sorted(int(name.split(".")[1]) for name in named if name.startswith("linear.") and name.endswith("weight"))
    if not any(named[f"linear.{place}.weight"].ndim == 2 for place in places):
        raise ModelFileError(path, "has a network without layers", FITS)
    pairs = tuple((named[f"linear.{place}.weight"], named.get(f"linear.{place}.bias")) for place in places)
    return Layers(pairs=pairs, activation=ACTIVATIONS[activation], activates_last=activates_last)
