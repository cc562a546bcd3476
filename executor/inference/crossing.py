"""What goes between the host and the device that computes, without the host waiting. Knows no model and no sampler.

The device works off a queue; a number that is read back, and a copy from memory that may be paged out, make the host
wait until the queue is empty, after which the device waits for the host.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

NUMBER = "weft_number"
"""The attribute under which noise levels as a tensor keep their number."""


def sent(x: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on a device, of a type; the host goes on before it is there, and what the device does next waits for it.

    Itself where it is there already. The pinned memory is PyTorch's own, which keeps it until the copy is done.
    """
    device = torch.device(device)
    wanted = x if dtype is None else x.to(dtype)  # converted first: a copy that converts too is made of pageable memory
    if x.device.type == device.type and device.index in (None, x.device.index):
        return wanted
    if x.device.type == "cpu" and device.type == "cuda":
        wanted = wanted if wanted.is_pinned() else wanted.pin_memory()
    return wanted.to(device, non_blocking=x.device.type == "cpu")


def sent_like(x: Tensor, like: Tensor) -> Tensor:
    """`sent` to the device and in the type of another tensor."""
    return sent(x, like.device, like.dtype)


def levels_like(x: Tensor, sigma: float) -> Tensor:
    """One noise level for every row of x [B, ...], [B] in its type, which knows its number on the host too."""
    levels = x.new_full((x.shape[0],), sigma)
    setattr(levels, NUMBER, rounded(sigma, x.dtype))
    return levels


def with_number(levels: Tensor, known: Tensor) -> Tensor:
    """Noise levels that were made of others, all of one number, knowing it too."""
    number = getattr(known, NUMBER, None)
    if number is not None:
        setattr(levels, NUMBER, number)
    return levels


def number_of(levels: Tensor) -> float:
    """The first of noise levels [B], which are all the same; read from the device only where the host does not know."""
    number: float | None = getattr(levels, NUMBER, None)
    return float(levels.flatten()[0].item()) if number is None else number


def rounded(number: float, dtype: torch.dtype) -> float:
    """A number as a tensor of a type holds it."""
    if dtype == torch.float32:  # at every step, some ten times faster so
        return ctypes.c_float(number).value
    return float(torch.tensor(number, dtype=dtype).item())
