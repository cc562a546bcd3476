"""Inpainting nodes prepare pictures and masks as recorded (reference/numeric, ops_mask) with the toy VAE."""

from __future__ import annotations

import pytest
import torch

from nodes.builtin.inpaint import InpaintModelConditioning
from nodes.builtin.vae import VAEEncodeForInpaint
from tests.maths.recordings import cases
from tests.unit.nodes.recorded import differences, tensors

CASES = cases("ops_mask")
RECORDED = tensors("ops_mask")
SIZES = sorted(name.split("/")[1] for name in CASES if name.startswith("VAEEncodeForInpaint/"))


class ToyVae:
    """8x8 average pool of the colours, and their mean as the fourth channel."""

    def __init__(self):
        self.seen = []

    def encode(self, pixels):
        self.seen.append(pixels)
        pooled = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat((pooled, pooled.mean(dim=1, keepdim=True)), dim=1)


def recorded(node, size, *parts):
    return {part: RECORDED[f"{node}/{size}/{part}"] for part in parts}


@pytest.mark.parametrize("size", SIZES)
def test_latents_and_grown_mask(size):
    given = recorded("VAEEncodeForInpaint", size, "pixels", "mask")
    vae = ToyVae()
    (latent,) = VAEEncodeForInpaint().encode(
        vae, **given, grow_mask_by=CASES[f"VAEEncodeForInpaint/{size}"]["grow_mask_by"]
    )
    found = {**latent, "encoded_pixels": vae.seen[0]}
    assert differences(found, recorded("VAEEncodeForInpaint", size, *found), 1e-5) == []


@pytest.mark.parametrize("size", SIZES)
def test_conditioning_of_inpainting_models(size):
    given = recorded("VAEEncodeForInpaint", size, "pixels", "mask")
    plain = [[torch.zeros(1, 2, 4), {}]]
    positive, _, latent = InpaintModelConditioning().encode(plain, plain, vae=ToyVae(), **given, noise_mask=True)
    found = {**latent, **positive[0][1]}
    assert differences(found, recorded("InpaintModelConditioning", size, *found), 1e-5) == []


def test_noise_mask_can_be_left_out():
    given = recorded("VAEEncodeForInpaint", SIZES[0], "pixels", "mask")
    plain = [[torch.zeros(1, 2, 4), {}]]
    _, _, latent = InpaintModelConditioning().encode(plain, plain, vae=ToyVae(), **given, noise_mask=False)
    assert set(latent) == {"samples"}
