"""What networks take beside latents, time and text."""

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference.extras import MaskedPicture, PictureBeside, Situation, SizeVector
from executor.inference.latent_formats import SD15, SDXL

POOLED = {"pooled_output": torch.ones(1, 8)}
HERE = Situation(shape=torch.Size((2, 4, 6, 4)))


def test_a_picture_to_be_avoided_has_a_low_score_for_the_refiner():
    refiner = SizeVector(pooled=8, refiner=True)
    avoided = Situation(shape=HERE.shape, negative=True)
    assert refiner.numbers(POOLED, HERE) == [48, 32, 0, 0, 6.0]
    assert refiner.numbers(POOLED, avoided) == [48, 32, 0, 0, 2.5]


def test_the_target_is_the_size_unless_it_is_named():
    assert SizeVector(pooled=8).numbers({"width": 512, "height": 256}, HERE) == [256, 512, 0, 0, 256, 512]


@pytest.mark.parametrize(
    ("options", "found"), [({}, "this one has none"), ({"pooled_output": torch.ones(1, 7)}, "one of width 7")]
)
def test_text_of_another_encoder_is_refused(options, found):
    with pytest.raises(NodeInputError, match=rf"pooled vector of width 8; .*{found}\. Encode the text with"):
        SizeVector(pooled=8)(options, HERE)


def test_an_inpainting_model_sees_mask_and_picture_in_its_own_scale():
    picture, mask = torch.ones(1, 4, 6, 4), torch.zeros(1, 1, 48, 32)
    mask[..., :24, :] = 1.0
    beside = MaskedPicture(latent_format=SD15)({"concat_latent_image": picture, "concat_mask": mask}, HERE)["c_concat"]
    assert beside.shape == (1, 5, 6, 4)
    assert torch.equal(beside[0, 0, :, 0], torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert torch.allclose(beside[:, 1:], torch.tensor(0.18215))


def test_a_mask_of_the_conditioning_may_lie_between_cells():
    mask = torch.zeros(1, 1, 48, 32)
    mask[..., :26, :] = 1.0
    given = {"concat_latent_image": torch.ones(1, 4, 6, 4), "concat_mask": mask}
    assert set(MaskedPicture(latent_format=SD15)(given, HERE)["c_concat"][:, 0].unique().tolist()) == {0.0, 1.0}


def test_without_a_picture_an_inpainting_model_sees_the_latents_that_are_kept():
    latent, mask = torch.full((2, 4, 6, 4), 3.0), torch.zeros(1, 6, 4)
    mask[:, :2] = 1.0
    here = Situation(shape=HERE.shape, latent=latent, mask=mask)
    beside = MaskedPicture(latent_format=SD15)({}, here)["c_concat"]
    assert beside.shape == (2, 5, 6, 4)
    assert (beside[:, 1:, :2] == 0).all()
    assert (beside[:, 1:, 2:] == 3).all()


def test_without_anything_an_inpainting_model_draws_all_anew_over_grey():
    beside = MaskedPicture(latent_format=SDXL)({}, HERE)["c_concat"]
    assert (beside[:, 0] == 1).all()
    assert torch.equal(beside[:, 1:], SDXL.grey().expand(1, 4, 6, 4))


@pytest.mark.parametrize("latent_format", [SD15, SDXL])
def test_grey_is_grey_in_the_preview(latent_format):
    shown = torch.einsum("bchw,cr->bhwr", latent_format.grey(), torch.tensor(latent_format.rgb_factors))
    assert torch.allclose(shown + torch.tensor(latent_format.rgb_bias), torch.tensor(0.0), atol=1e-6)


@pytest.mark.parametrize(("scaled", "value"), [(False, 1.0), (True, 0.13025)])
def test_an_editing_model_sees_the_picture(scaled, value):
    extra = PictureBeside(latent_format=SDXL, scaled=scaled)
    beside = extra({"concat_latent_image": torch.ones(1, 4, 12, 8)}, HERE)["c_concat"]
    assert beside.shape == (1, 4, 6, 4)
    assert torch.allclose(beside, torch.tensor(value))


def test_an_editing_model_without_a_picture_sees_zeros():
    assert not PictureBeside(latent_format=SD15)({}, HERE)["c_concat"].any()
