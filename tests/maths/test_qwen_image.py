"""Qwen-Image against diffusers' QwenImageTransformer2DModel: every weight random, the names are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from executor.inference.qwen_image import AT_ZERO, QwenImage, QwenImageShape
from executor.inference.rotary import axis_widths
from tests.maths.recordings import error
from tests.tiny_qwen_image import TINY_QWEN_IMAGE, random_qwen_image

BOUND = 1e-5


def theirs(ours: QwenImage) -> QwenImageTransformer2DModel:
    """diffusers' network of the same weights."""
    shape = ours.shape
    module = QwenImageTransformer2DModel(
        in_channels=shape.in_features,
        out_channels=shape.out_channels,
        num_layers=shape.blocks,
        attention_head_dim=shape.width // shape.heads,
        num_attention_heads=shape.heads,
        joint_attention_dim=shape.context,
        axes_dims_rope=axis_widths(shape.width // shape.heads),
        zero_cond_t=shape.mark is not None,
    )
    module.load_state_dict({name: each for name, each in ours.state_dict().items() if name != AT_ZERO})
    return module.requires_grad_(False).eval()


def packed(latents: Tensor) -> Tensor:
    """Latents [B, C, F, h, w] as diffusers packs them, frame after frame."""
    b, c, f, h, w = latents.shape
    cells = latents.view(b, c, f, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 4, 6)
    return cells.reshape(b, f * (h // 2) * (w // 2), 4 * c)


def answered(module: QwenImageTransformer2DModel, x: Tensor, given: dict[str, Tensor], pictures: list = ()) -> Tensor:
    """What diffusers' network answers, as tokens of the picture."""
    seen = [x, *pictures]
    with torch.no_grad():
        answer = module(
            hidden_states=torch.cat([packed(each) for each in seen], dim=1),
            encoder_hidden_states=given["context"],
            timestep=given["timesteps"],
            img_shapes=[[(each.shape[2], each.shape[3] // 2, each.shape[4] // 2) for each in seen]] * len(x),
        ).sample
    return answer[:, : packed(x).shape[1]]


def inputs(shape: QwenImageShape = TINY_QWEN_IMAGE, rows: int = 2, tokens: int = 7) -> dict[str, Tensor]:
    """Text and times for so many rows."""
    torch.manual_seed(3)
    return {"context": torch.randn(rows, tokens, shape.context), "timesteps": torch.linspace(0.97, 0.11, rows)}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"width": 96, "heads": 3, "inner": 384, "blocks": 1, "context": 20},
        {"width": 256, "heads": 2, "inner": 1024, "blocks": 2},
    ],
    ids=["two heads", "three heads", "heads of 128"],
)
def test_it_answers_as_diffusers(change):
    ours = random_qwen_image(replace(TINY_QWEN_IMAGE, **change))
    x, given = torch.randn(2, 16, 1, 8, 6), inputs(ours.shape)
    assert error(packed(ours(x, **given)), answered(theirs(ours), x, given)) < BOUND


def test_rows_and_columns_of_odd_numbers_stand_around_the_middle_as_in_diffusers():
    ours = random_qwen_image()
    x, given = torch.randn(2, 16, 1, 10, 14), inputs()
    assert error(packed(ours(x, **given)), answered(theirs(ours), x, given)) < BOUND


def test_several_frames_stand_behind_each_other():
    ours = random_qwen_image()
    x, given = torch.randn(2, 16, 3, 4, 6), inputs()
    assert error(packed(ours(x, **given)), answered(theirs(ours), x, given)) < BOUND


def test_further_pictures_are_seen_in_layers_of_their_own():
    ours = random_qwen_image()
    x, given = torch.randn(2, 16, 1, 8, 6), inputs()
    pictures = [torch.randn(2, 16, 1, 6, 4), torch.randn(2, 16, 1, 4, 14)]
    answer = ours(x, **given, ref_latents=pictures)
    assert error(packed(answer), answered(theirs(ours), x, given, pictures)) < BOUND
    assert error(answer, ours(x, **given)) > 1e-3


def test_further_pictures_may_have_time_0_as_in_diffusers():
    ours = random_qwen_image(replace(TINY_QWEN_IMAGE, mark=(0,)))
    x, given = torch.randn(2, 16, 1, 8, 6), inputs()
    pictures = [torch.randn(2, 16, 1, 6, 4), torch.randn(2, 16, 1, 4, 14)]
    answer = ours(x, **given, ref_latents=pictures)
    assert error(packed(answer), answered(theirs(ours), x, given, pictures)) < BOUND
    assert error(answer, random_qwen_image()(x, **given, ref_latents=pictures)) > 1e-3
    assert error(packed(ours(x, **given)), answered(theirs(ours), x, given)) < BOUND


def test_odd_sizes_are_filled_up_by_the_other_sides_cells():
    ours = random_qwen_image()
    x, given = torch.randn(2, 16, 1, 7, 5), inputs()
    rows = torch.cat([x, x[..., :1, :]], dim=-2)
    whole = torch.cat([rows, rows[..., :1]], dim=-1)
    answer = ours(x, **given)
    assert answer.shape == x.shape
    assert error(answer, ours(whole, **given)[..., :7, :5]) < BOUND
