"""transformers' Qwen2.5-VL (Apache-2.0) of the small sizes of tiny_qwen.py, and pictures as it takes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours of pictures that it was trained with."""


def their_qwen(tensors: Mapping[str, Tensor], *, layers: int, heads: int, picture: int) -> Qwen2_5_VLModel:
    """The model with these weights; `picture` is the id of a picture's places."""
    rows, width = tensors["model.embed_tokens.weight"].shape
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": rows,
            "hidden_size": width,
            "intermediate_size": 96,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-6,
            "rope_parameters": rope,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        vision_config={
            "depth": 8,
            "hidden_size": 160,
            "intermediate_size": 96,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [1, 3, 5, 7],
            "window_size": 112,
        },
        image_token_id=picture,
    )
    model = Qwen2_5_VLModel(config).eval()
    renamed = {name.replace("model.", "language_model.", 1): tensor.float() for name, tensor in tensors.items()}
    model.load_state_dict(renamed)
    return model


def patches(pixels: Tensor) -> Tensor:
    """The patches of a picture [1, 3, H, W] in 0..1 as transformers takes them: those of a token in turn."""
    mean, deviation = (torch.tensor(each).reshape(1, 3, 1, 1) for each in (MEAN, DEVIATION))
    pixels = (pixels - mean) / deviation
    colours, height, width = pixels.shape[1:]
    blocks = pixels.reshape(colours, height // 28, 2, 14, width // 28, 2, 14).permute(1, 4, 2, 5, 0, 3, 6)
    twice = blocks[:, :, :, :, :, None].expand(-1, -1, -1, -1, -1, 2, -1, -1)
    return twice.reshape(height // 14 * (width // 14), -1)
