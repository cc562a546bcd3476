"""Files of tensors, pictures and progress under the names that packs use. The arithmetic is Weft's own."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from comfy.progress_bar import ProgressBar, set_progress_bar_enabled, set_progress_bar_global_hook
from comfy.seams import joined
from executor.inference import pixels
from executor.inference.pixels import bislerp, common_upscale
from executor.inference.tiling import get_tiled_scale_steps, tiled_scale, tiled_scale_multidim
from executor.inference.weights import load_torch_file as _load_torch_file
from executor.wholefile import whole
from nodes.builtin.services import attempt

__all__ = [
    "PROGRESS_BAR_ENABLED",
    "PROGRESS_BAR_HOOK",
    "ProgressBar",
    "bislerp",
    "common_upscale",
    "get_tiled_scale_steps",
    "set_progress_bar_enabled",
    "set_progress_bar_global_hook",
    "tiled_scale",
    "tiled_scale_multidim",
]

PROGRESS_BAR_ENABLED = True
PROGRESS_BAR_HOOK: Callable[..., None] | None = None
MMAP_TORCH_FILES = False
DISABLE_MMAP = False
ALWAYS_SAFE_LOAD = True

StateDict = dict[str, Tensor]

__getattr__ = joined(__name__, {"load_torch_file": _load_torch_file})

# ---------------------------------------------------------------- files


def save_torch_file(sd: Mapping[str, Tensor], ckpt: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a safetensors file."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in sd.items()}
    with whole(Path(os.path.abspath(ckpt)), record=attempt()) as part:
        save_file(tensors, part, metadata=dict(metadata) if metadata is not None else None)


def safetensors_header(safetensors_path: str, max_size: int = 100 * 1024 * 1024) -> bytes | None:
    """The JSON header of a safetensors file; None if it is longer than `max_size` bytes."""
    with open(safetensors_path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return None if length > max_size else file.read(length)


def read_safetensors_metadata(path: str) -> dict[str, str]:
    """The text metadata of a safetensors file."""
    header = safetensors_header(path)
    found: dict[str, str] = json.loads(header).get("__metadata__", {}) if header else {}
    return found


def calculate_parameters(sd: Mapping[str, Tensor], prefix: str = "") -> int:
    """How many numbers the tensors below a prefix hold."""
    return sum(tensor.nelement() for name, tensor in sd.items() if name.startswith(prefix))


def weight_dtype(sd: Mapping[str, Tensor], prefix: str = "") -> torch.dtype | None:
    """The type that holds most numbers below a prefix; None if there are none."""
    chosen = {name: tensor for name, tensor in sd.items() if name.startswith(prefix)}
    from executor.inference.memory import most_common_dtype

    return most_common_dtype(chosen) if chosen else None


def state_dict_key_replace(state_dict: StateDict, keys_to_replace: Mapping[str, str]) -> StateDict:
    """Rename whole keys, in place."""
    for old, new in keys_to_replace.items():
        if old in state_dict:
            state_dict[new] = state_dict.pop(old)
    return state_dict


def state_dict_prefix_replace(
    state_dict: StateDict, replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> StateDict:
    """Rename the beginnings of keys, in place; with `filter_keys` into a new dictionary of these keys alone."""
    out = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for key in [key for key in state_dict if key.startswith(old)]:
            out[new + key[len(old) :]] = state_dict.pop(key)
    return out


def convert_sd_to(state_dict: StateDict, dtype: torch.dtype) -> StateDict:
    """Cast every tensor, in place."""
    for name in state_dict:
        state_dict[name] = state_dict[name].to(dtype)
    return state_dict


def string_to_seed(data: str) -> int:
    """The CRC-32 of a text."""
    import zlib

    return zlib.crc32(data.encode("utf-8"))


# ---------------------------------------------------------------- attributes by dotted name


def _owner(obj: object, attr: str) -> tuple[object, str]:
    path, _, name = attr.rpartition(".")
    return (get_attr(obj, path) if path else obj), name


def get_attr(obj: object, attr: str) -> object:
    """The attribute of a dotted name."""
    for name in attr.split("."):
        obj = getattr(obj, name)
    return obj


def set_attr(obj: object, attr: str, value: object) -> object:
    """Set the attribute of a dotted name; answers with the old value."""
    owner, name = _owner(obj, attr)
    before = getattr(owner, name)
    setattr(owner, name, value)
    return before


def set_attr_param(obj: object, attr: str, value: Tensor) -> object:
    """Set a weight of a dotted name as a new parameter; answers with the old one."""
    return set_attr(obj, attr, nn.Parameter(value, requires_grad=False))


def set_attr_buffer(obj: nn.Module, attr: str, value: Tensor) -> object:
    """Set a buffer of a dotted name; answers with the old one."""
    owner, name = _owner(obj, attr)
    before = getattr(owner, name, None)
    owner.register_buffer(name, value, persistent=name not in owner._non_persistent_buffers_set)
    return before


def copy_to_param(obj: object, attr: str, value: Tensor) -> None:
    """Copy values into the weight of a dotted name, in place."""
    get_attr(obj, attr).data.copy_(value)


# ---------------------------------------------------------------- batches and pictures


def repeat_to_batch_size(tensor: Tensor, batch_size: int, dim: int = 0) -> Tensor:
    """A batch repeated, or cut, to `batch_size` items along `dim`."""
    length = tensor.shape[dim]
    if length >= batch_size:
        return tensor.narrow(dim, 0, batch_size)
    copies = [1] * tensor.ndim
    copies[dim] = -(-batch_size // length)
    return tensor.repeat(copies).narrow(dim, 0, batch_size)


def resize_to_batch_size(tensor: Tensor, batch_size: int) -> Tensor:
    """A batch of `batch_size` items spread evenly over the given ones, the first and the last included."""
    length = tensor.shape[0]
    if length == batch_size:
        return tensor
    if batch_size <= 1:
        return tensor[:batch_size]
    if batch_size < length:
        places = [round((length - 1) / (batch_size - 1) * index) for index in range(batch_size)]
    else:
        places = [min(round((index + 0.5) * length / batch_size - 0.5), length - 1) for index in range(batch_size)]
    return tensor[places]


def resize_list_to_batch_size(items: list[object], batch_size: int) -> list[object]:
    """As `resize_to_batch_size`, for lists."""
    places = resize_to_batch_size(torch.arange(len(items)), batch_size)
    return [items[int(place)] for place in places]


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Resize [B, C, H, W] through 8-bit pixels with Lanczos' filter."""
    return pixels.common_upscale(samples, width, height, "lanczos", "disabled")


def reshape_mask(input_mask: Tensor, output_shape: Iterable[int]) -> Tensor:
    """A mask scaled, repeated over channels and batch, and cut, to the shape of latents [B, C, (T,) H, W]."""
    shape = tuple(output_shape)
    spatial = len(shape) - 2
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[spatial]
    if spatial == 3 and input_mask.ndim < 5:
        mask = input_mask.reshape(1, 1, -1, *input_mask.shape[-2:])
    else:
        mask = input_mask.reshape(-1, 1, *input_mask.shape[-spatial:])
    mask = functional.interpolate(mask, size=shape[2:], mode=mode)
    if mask.shape[1] < shape[1]:
        mask = mask.repeat(1, shape[1], *[1] * spatial)[:, : shape[1]]
    return repeat_to_batch_size(mask, shape[0])


def deepcopy_list_dict(obj: object, memo: dict[int, object] | None = None) -> object:
    """Lists and dictionaries copied all the way down; other values are shared."""
    known = {} if memo is None else memo
    if id(obj) in known:
        return known[id(obj)]
    if isinstance(obj, dict):
        result: object = {key: deepcopy_list_dict(value, known) for key, value in obj.items()}
    elif isinstance(obj, list):
        result = [deepcopy_list_dict(value, known) for value in obj]
    else:
        result = obj
    known[id(obj)] = result
    return result
