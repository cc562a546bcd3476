"""Scales of latent spaces."""

import torch

from executor.inference.latent_formats import SD15


def test_going_in_multiplies_by_the_scale():
    assert torch.equal(SD15.process_in(torch.ones(1, 4, 2, 2)), torch.full((1, 4, 2, 2), 0.18215))


def test_going_out_is_the_way_back():
    latent = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(SD15.process_out(SD15.process_in(latent)), latent)


def test_there_is_a_colour_for_every_channel():
    assert len(SD15.rgb_factors) == SD15.channels
