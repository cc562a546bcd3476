"""SDXL's networks against independent ones: diffusers' UNet with its vector, and OpenCLIP's text model by its paper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.extras import Situation
from executor.inference.families.base import Diffusion
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.families.sdxl import SDXL, SDXL_REFINER
from executor.inference.text.clip_file import build_text_model, read_text_shape, text_tensors
from executor.inference.text.kinds import CLIP_G
from executor.inference.weights import WeightFile
from tests.maths.recordings import error
from tests.tiny_checkpoint import random_tensors
from tests.tiny_families import open_clip_shapes

BOUND = 1e-5  # one forward, relative (reference/model_layer.md)
CONTEXT, POOLED = 96, 32
SIZES = {"height": 640, "width": 512, "crop_h": 8, "crop_w": 16, "target_height": 1024, "target_width": 768}


def original_unet(pooled: int, numbers: int, context: int) -> nn.Module:
    """diffusers' network of SDXL's outline with every weight random: those that start at zero would hide errors."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(1, 1, 2),
        cross_attention_dim=context,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=pooled + 256 * numbers,
    )
    generator = torch.Generator().manual_seed(0)
    for weight in unet.parameters():
        nn.init.normal_(weight, std=0.5 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return unet.requires_grad_(False).eval()


def read(unet: nn.Module, family) -> Diffusion:
    """What we make of the network's weights."""
    file = WeightFile(path=Path("unet.safetensors"), tensors=unet.state_dict())
    found = family.build_diffusion(file, original_unet_names(file.tensors))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("family", "pooled", "context", "options", "numbers"),
    [
        (SDXL, POOLED, CONTEXT, SIZES, [640, 512, 8, 16, 1024, 768]),
        (SDXL, POOLED, CONTEXT, {}, [96, 64, 0, 0, 96, 64]),
        (SDXL_REFINER, CONTEXT, CONTEXT, {**SIZES, "aesthetic_score": 7.5}, [640, 512, 8, 16, 7.5]),
        (SDXL_REFINER, CONTEXT, CONTEXT, {}, [96, 64, 0, 0, 6.0]),
    ],
    ids=["sizes", "sizes of the picture", "refiner", "refiner without a score"],
)
def test_the_unet_answers_as_diffusers(family, pooled, context, options, numbers):
    original = original_unet(pooled, len(numbers), context)
    diffusion = read(original, family)
    x, timestep, text = torch.randn(1, 4, 12, 8), torch.tensor([311.25]), torch.randn(1, 7, context)
    vector = torch.randn(1, pooled)
    [extra] = diffusion.extras
    given = extra({**options, "pooled_output": vector}, Situation(shape=x.shape))
    beside = {"text_embeds": vector, "time_ids": torch.tensor([numbers], dtype=torch.float32)}
    expected = original(x, timestep, text, added_cond_kwargs=beside).sample
    assert error(diffusion.part.module(x, timestep, text, **given), expected) < BOUND


def open_clip_answer(tensors: dict[str, Tensor], ids: Tensor, heads: int) -> tuple[list[Tensor], Tensor]:
    """Hidden states of each layer and the pooled vector of token rows, written down anew from the file's tensors."""
    x = tensors["token_embedding.weight"][ids] + tensors["positional_embedding"]
    width, length = x.shape[-1], x.shape[1]
    mask = torch.full((length, length), float("-inf")).triu(1)
    hidden = []
    for number in range(len({name.split(".")[2] for name in tensors if name.startswith("transformer")})):
        inside = {n.split(".", 3)[3]: t for n, t in tensors.items() if n.startswith(f"transformer.resblocks.{number}.")}
        attention = nn.MultiheadAttention(width, heads, batch_first=True)
        attention.load_state_dict({n.removeprefix("attn."): t for n, t in inside.items() if n.startswith("attn.")})
        y = functional.layer_norm(x, (width,), inside["ln_1.weight"], inside["ln_1.bias"])
        x = x + attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        y = functional.layer_norm(x, (width,), inside["ln_2.weight"], inside["ln_2.bias"])
        y = functional.gelu(functional.linear(y, inside["mlp.c_fc.weight"], inside["mlp.c_fc.bias"]))
        x = x + functional.linear(y, inside["mlp.c_proj.weight"], inside["mlp.c_proj.bias"])
        hidden.append(x)
    last = functional.layer_norm(x, (width,), tensors["ln_final.weight"], tensors["ln_final.bias"])
    return hidden, last[torch.arange(len(ids)), ids.argmax(dim=1)] @ tensors["text_projection"]


def test_open_clip_answers_as_written_down_anew():
    tensors = random_tensors({"": open_clip_shapes(64, layers=3, vocabulary=50)}, torch.float32)
    file = WeightFile(path=Path("g.safetensors"), tensors=tensors)
    model = build_text_model(file, "", read_text_shape(text_tensors(tensors, ""), CLIP_G)).module
    ids = torch.randint(0, 48, (2, 77))
    ids[0, 5] = ids[1, 30] = 49  # the end: the largest id
    ends = torch.tensor([5, 30])
    with torch.no_grad():
        found = model(model.embeddings.token_embedding(ids), ends, layer=-2, normed=False)
        hidden, pooled = open_clip_answer(tensors, ids, model.shape.heads)
    assert max(error(found.hidden, hidden[-2]), error(found.pooled, pooled)) < BOUND
