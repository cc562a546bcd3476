"""`comfy.comfy_types`: what V1 packs annotate with."""

from collections.abc import Callable
from typing import Protocol, TypedDict

import torch

from comfy.comfy_types.node_typing import (
    IO,
    CheckLazyMixin,
    ComfyNodeABC,
    FileLocator,
    InputTypeDict,
    InputTypeOptions,
)
from nodes import placeholders


class UnetApplyFunction(Protocol):
    """Calls a network."""

    def __call__(self, x: torch.Tensor, t: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """The network's output."""


class UnetApplyConds(TypedDict):
    """What a network is called with beside latent and time."""

    c_concat: torch.Tensor | None
    c_crossattn: torch.Tensor | None
    control: torch.Tensor | None
    transformer_options: dict[str, object] | None


class UnetParams(TypedDict):
    """What a wrapper of a network's call is given."""

    input: torch.Tensor
    timestep: torch.Tensor
    c: UnetApplyConds
    cond_or_uncond: torch.Tensor


UnetWrapperFunction = Callable[[UnetApplyFunction, UnetParams], torch.Tensor]

__getattr__ = placeholders.submodules(__name__)

__all__ = [
    "IO",
    "CheckLazyMixin",
    "ComfyNodeABC",
    "FileLocator",
    "InputTypeDict",
    "InputTypeOptions",
    "UnetApplyConds",
    "UnetApplyFunction",
    "UnetParams",
    "UnetWrapperFunction",
]
