"""diffusers' networks at full size with random weights: what Weft's steps are compared with on a GPU.

A peer's step is one call of its network with both sides of the guidance and nothing around it, which favours it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from executor.inference.attention_kernels import CUDNN, refusals

Step = Callable[[], Tensor]

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "sd15": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
    },
    "svd_xt": {"num_attention_heads": (5, 10, 20, 20), "num_frames": 25},
}


def built(layout: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """diffusers' network of a layout, weights as they are born."""
    from diffusers import UNet2DConditionModel, UNetSpatioTemporalConditionModel

    kind = UNetSpatioTemporalConditionModel if layout == "svd_xt" else UNet2DConditionModel
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            network: nn.Module = kind(**CONFIGS[layout])
    finally:
        torch.set_default_dtype(before)
    return network.requires_grad_(False).eval()


def step_of(network: Callable[..., Any], layout: str, like: Mapping[str, Any]) -> Step:
    """One call of a peer's network; `like` holds device, dtype, rows (both sides), frames and the latents' size."""
    device, dtype, rows, size = like["device"], like["dtype"], like["rows"], like["size"]

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=dtype)

    time = torch.full((rows,), 500.0, device=device)
    if layout == "svd_xt":
        x, text, told = numbers(rows, like["frames"], 8, *size), numbers(rows, 1, 1024), numbers(rows, 3)
        return lambda: network(x, time, encoder_hidden_states=text, added_time_ids=told, return_dict=False)[0]
    x, text = numbers(rows, 4, *size), numbers(rows, 77, CONFIGS[layout]["cross_attention_dim"])
    more: dict[str, Any] = {}
    if layout == "sdxl":
        more["added_cond_kwargs"] = {"text_embeds": numbers(rows, 1280), "time_ids": numbers(rows, 6)}
    return lambda: network(x, time, encoder_hidden_states=text, return_dict=False, **more)[0]


@contextmanager
def pytorchs_attention() -> Iterator[None]:
    """Lets PyTorch choose among all attention kernels within a with block, as it does for whoever runs diffusers alone.

    Not cuDNN's where it refused a shape in this process: asked again for that one it would end it.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(all(name != CUDNN for name, _ in refusals()))
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def compiled(network: nn.Module) -> Callable[..., Any]:
    """The network as diffusers' own guide makes it fastest: channels last, torch.compile's longest search."""
    laid = network.to(memory_format=torch.channels_last)
    found: Callable[..., Any] = torch.compile(laid, mode="max-autotune", fullgraph=True)
    return found
