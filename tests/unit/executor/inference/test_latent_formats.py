"""Scales of latent spaces."""

import pytest
import torch

from executor.inference.latent_formats import FLUX, SD3, SD15


def test_going_in_multiplies_by_the_scale():
    assert torch.equal(SD15.process_in(torch.ones(1, 4, 2, 2)), torch.full((1, 4, 2, 2), 0.18215))


def test_going_out_is_the_way_back():
    latent = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(SD15.process_out(SD15.process_in(latent)), latent)


def test_there_is_a_colour_for_every_channel():
    assert len(SD15.rgb_factors) == SD15.channels


@pytest.mark.parametrize("latents", [FLUX, SD3], ids=lambda each: each.name)
def test_formats_with_a_shift_take_it_off_before_the_scale(latents):
    plain = torch.full((1, 16, 2, 2), latents.shift_factor + 1.0)
    torch.testing.assert_close(latents.process_in(plain), torch.full((1, 16, 2, 2), latents.scale_factor))
    torch.testing.assert_close(latents.process_out(latents.process_in(plain)), plain)
    assert len(latents.rgb_factors) == latents.channels == 16
