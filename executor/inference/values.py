"""What flows between nodes: names for tensors and dictionaries, with their shapes. Computes nothing.

The shapes are the ecosystem's and fixed (reference/custom_node_surface.md).
"""

from typing import NotRequired, TypeAlias, TypedDict

from torch import Tensor

Image: TypeAlias = Tensor  # [B, H, W, C], 0..1, float32
Mask: TypeAlias = Tensor  # [B, H, W], 0..1, float32
Sigmas: TypeAlias = Tensor  # [steps + 1], falling noise levels, float32 on the CPU


class Latent(TypedDict):
    """Pictures in a model's latent space, not yet multiplied by the latent format's scale."""

    samples: Tensor  # [B, 4, H/8, W/8]
    noise_mask: NotRequired[Tensor]  # [B, 1, H, W] or [B, H, W], 1 where noise may change the picture
    batch_index: NotRequired[list[int]]  # which noise of a seed's series each picture takes


class Audio(TypedDict):
    """Sound: B pieces of C channels and T samples each, -1..1, float32."""

    waveform: Tensor  # [B, C, T]
    sample_rate: int


class Condition(TypedDict, total=False):
    """What goes with a text embedding; packs and nodes add keys of their own."""

    pooled_output: Tensor | None  # [1, C]
    area: tuple[int, int, int, int]  # height, width, y, x in latent cells
    strength: float
    mask: Tensor
    mask_strength: float
    set_area_to_bounds: bool
    start_percent: float
    end_percent: float


# [[embedding [1, tokens, C], condition], ...]: the inner pair is a list, because packs assign to its places
Conditioning: TypeAlias = list[list[Tensor | Condition]]
