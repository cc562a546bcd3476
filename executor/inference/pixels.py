"""Resizing, padding and 8-bit conversion of pictures, masks and latents as tensors. Knows no models and no nodes."""

import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from executor.inference.devices import CPU, refuse_unless_fits

PART = 1 << 18  # values that are converted at a time, of a LARGE picture: fresh memory for all costs twice the work
LARGE = 1 << 22
EDGE = 1e-5  # directions closer than this count as equal (or opposite) in `slerp`


def common_upscale(samples: Tensor, width: int, height: int, upscale_method: str, crop: str) -> Tensor:
    """Resize [B, C, H, W] (or [B, C, T, H, W], frame by frame) to `width` x `height`.

    Methods: nearest-exact, bilinear, area, bicubic, lanczos (through 8-bit pixels), bislerp (through directions).
    `crop="center"` first cuts the longer side so that the picture keeps its proportions.
    Raises NodeInputError for more than main memory has left.
    """
    if samples.ndim == 5:
        batch, channels, frames, *size = samples.shape
        flat = samples.movedim(2, 1).reshape(batch * frames, channels, *size)
        resized = common_upscale(flat, width, height, upscale_method, crop)
        return resized.reshape(batch, frames, channels, height, width).movedim(1, 2)
    if samples.device == CPU:
        refuse_unless_fits((*samples.shape[:2], height, width), f"a batch of {len(samples)} of {width} x {height}")
    if crop == "center":
        samples = centre_crop(samples, width, height)
    if upscale_method == "lanczos":
        return _lanczos(samples, width, height)
    if upscale_method == "bislerp":
        return bislerp(samples, width, height)
    return functional.interpolate(samples, size=(height, width), mode=upscale_method)


def centre_crop(samples: Tensor, width: int, height: int) -> Tensor:
    """Cut [B, C, H, W] evenly on two sides to the proportions of `width` : `height`."""
    old_height, old_width = samples.shape[-2:]
    old_ratio, ratio = old_width / old_height, width / height
    x = round((old_width - old_width * (ratio / old_ratio)) / 2) if old_ratio > ratio else 0
    y = round((old_height - old_height * (old_ratio / ratio)) / 2) if old_ratio < ratio else 0
    return samples[..., y : old_height - y, x : old_width - x]


def fitted_size(width: int, height: int, old_width: int, old_height: int) -> tuple[int, int]:
    """Width and height, where a 0 stands for "in proportion to the other one"."""
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return width, height


def resize_images(images: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Resize pictures [B, H, W, C]; see `common_upscale`."""
    return common_upscale(images.movedim(-1, 1), width, height, method, crop).movedim(1, -1)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Pictures [..., C] with so many channels: further ones are left out, a missing alpha channel is opaque."""
    missing = channels - images.shape[-1]
    return functional.pad(images, (0, missing), value=1.0) if missing > 0 else images[..., :channels]


def to_bytes(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture [..., H, W, C] in 0..1 as 8-bit values: cut off, not rounded, as files are recorded."""
    if image.device.type != "cpu" or image.numel() < LARGE:
        small: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
            (image * 255.0).clamp_(0, 255).to(torch.uint8).cpu().numpy()
        )
        return small
    values = torch.empty(image.shape, dtype=torch.uint8)
    rows = max(1, PART * image.shape[-3] // image.numel())
    for part, place in zip(torch.split(image, rows, -3), torch.split(values, rows, -3), strict=True):
        place.copy_((part * 255.0).clamp_(0, 255))
    return values.numpy()


def to_rounded(image: Tensor, bits: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    """A picture [..., H, W, C] in 0..1 as the nearest 8-bit or 16-bit values; what is no number (NaN) becomes 0.

    Source: reference/vhs_video_combine.md section 2.
    """
    top = (1 << bits) - 1
    scaled = np.nan_to_num(image.detach().float().cpu().numpy() * top + 0.5, nan=0.0, posinf=top, neginf=0.0)
    return np.clip(scaled, 0, top).astype(np.uint8 if bits == 8 else np.uint16)


def to_pil(image: Tensor) -> Image.Image:
    """One picture [H, W, C] in 0..1 as a PIL image: 1 channel L, 3 RGB, 4 RGBA."""
    values = to_bytes(image)
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def _lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    pictures = [to_pil(item.movedim(0, -1)).resize((width, height), Image.Resampling.LANCZOS) for item in samples]
    arrays = [np.asarray(picture, dtype=np.float32) / 255.0 for picture in pictures]
    stacked = torch.stack([torch.from_numpy(array).reshape(height, width, -1).movedim(-1, 0) for array in arrays])
    return stacked.to(samples.device, samples.dtype)


# ---------------------------------------------------------------- directions


def slerp(first: Tensor, second: Tensor, ratio: Tensor) -> Tensor:
    """Between vectors [N, C]: turn the direction at even speed and blend the length (Shoemake 1985)."""
    length1 = first.norm(dim=-1, keepdim=True)
    length2 = second.norm(dim=-1, keepdim=True)
    unit1 = torch.where(length1 == 0, 0.0, first / length1)
    unit2 = torch.where(length2 == 0, 0.0, second / length2)
    cosine = (unit1 * unit2).sum(dim=-1, keepdim=True)
    angle = torch.acos(cosine)
    mixed = (torch.sin((1 - ratio) * angle) * unit1 + torch.sin(ratio * angle) * unit2) / torch.sin(angle)
    result = mixed * (length1 * (1 - ratio) + length2 * ratio)
    result = torch.where(cosine > 1 - EDGE, first, result)
    return torch.where(cosine < EDGE - 1, first * (1 - ratio) + second * ratio, result)


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Resize [B, C, H, W] as bilinear does, but blending the channel vectors by `slerp`: first along x, then y."""
    values = samples.float().movedim(1, -1)  # [B, H, W, C]
    values = _blend_along(values, 2, width)
    values = _blend_along(values, 1, height)
    return values.movedim(-1, 1).to(samples.dtype)


def _blend_along(values: Tensor, dim: int, size: int) -> Tensor:
    old = values.shape[dim]
    place = ((torch.arange(size, dtype=torch.float32, device=values.device) + 0.5) * (old / size) - 0.5).clamp(
        0, old - 1
    )
    left = place.floor().long()
    right = (left + 1).clamp(max=old - 1)
    shape = [1] * values.ndim
    shape[dim] = size
    ratio = (place - left).reshape(shape)
    return slerp(values.index_select(dim, left), values.index_select(dim, right), ratio)


# ---------------------------------------------------------------- padding


def pad_for_outpaint(
    image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """Grey border around pictures [B, H, W, C], and the mask [1, H, W] of what to paint.

    The mask is 1 on the border and falls with the square of the distance over `feathering` pixels into the picture.
    """
    batch, height, width, channels = image.shape
    size = height + top + bottom, width + left + right
    refuse_unless_fits((batch, *size, channels), f"a batch of {batch} of {size[1]} x {size[0]} pixels")
    canvas = torch.full((batch, *size, channels), 0.5, dtype=torch.float32)
    canvas[:, top : top + height, left : left + width] = image
    mask = torch.ones(canvas.shape[1:3], dtype=torch.float32)
    inner = torch.zeros(height, width)
    if feathering > 0 and feathering * 2 < min(height, width):
        rows, columns = torch.arange(height)[:, None].float(), torch.arange(width)[None, :].float()
        distance = torch.full((height, width), math.inf)
        for used, away in ((top, rows), (bottom, height - rows), (left, columns), (right, width - columns)):
            if used:
                distance = torch.minimum(distance, away.expand(height, width))
        inner = ((feathering - distance).clamp(min=0) / feathering) ** 2
    mask[top : top + height, left : left + width] = inner
    return canvas, mask.unsqueeze(0)


def fit_inside(width: int, height: int, frame_width: int, frame_height: int) -> tuple[int, int]:
    """The largest size of the same proportions that fits into a frame, rounded down to whole pixels but to none."""
    factor = min(frame_width / width, frame_height / height)
    return max(1, int(width * factor)), max(1, int(height * factor))


# ---------------------------------------------------------------- edges and pasting


def edge_fade(height: int, width: int, left: int, top: int, right: int, bottom: int, *, late: int = 0) -> Tensor:
    """Weights [height, width]: 1 inside, rising in equal steps over so many pixels from each edge.

    `late` steps are left out at the right and lower edge.
    """
    return _ramps(height, top, bottom, late)[:, None] * _ramps(width, left, right, late)[None, :]


def _ramps(size: int, first: int, last: int, late: int) -> Tensor:
    first, last = min(first, size), min(last, size)
    line = torch.ones(size)
    if first:
        line[:first] *= torch.arange(1, first + 1) / first
    if last:
        line[size - last :] *= ((torch.arange(1, last + 1) + late) / last).clamp(max=1.0).flip(0)
    return line


def paste(target: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None) -> Tensor:
    """`target` [B, C, H, W] with `source` [B', C, h, w] on it at (x, y), where `mask` [M, h', w'] lets it through.

    Both may have frames [B, C, T, H, W], all of which a mask is for. A source that reaches over an edge, also over the
    left or upper one (x or y < 0), is cut; batches are repeated.
    """
    result = target.clone()
    height, width = source.shape[-2:]
    weight = torch.ones(1, 1, height, width) if mask is None else mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])
    weight = functional.interpolate(weight, size=(height, width), mode="bilinear").to(target)
    weight = weight.reshape(-1, *[1] * (target.ndim - 3), height, width)
    left, top, skip_x, skip_y = max(x, 0), max(y, 0), max(-x, 0), max(-y, 0)
    seen = (slice(skip_y, skip_y + target.shape[-2] - top), slice(skip_x, skip_x + target.shape[-1] - left))
    source = repeat_to(source, target.shape[0])[(..., *seen)]
    weight = repeat_to(weight, target.shape[0])[(..., *seen)]
    place = result[..., top : top + source.shape[-2], left : left + source.shape[-1]]
    place.copy_(source * weight + place * (1.0 - weight))
    return result


def repeat_to(tensor: Tensor, batch: int) -> Tensor:
    """A batch repeated, or cut, to `batch` items."""
    if tensor.shape[0] >= batch:
        return tensor[:batch]
    return tensor.repeat(math.ceil(batch / tensor.shape[0]), *[1] * (tensor.ndim - 1))[:batch]
