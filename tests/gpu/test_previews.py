"""Previews made beside a sampling on a GPU show what previews in line show, and make no step wait."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from executor.inference.latent_formats import SD15
from executor.inference.preview import LatentPreview

pytestmark = pytest.mark.gpu


def test_a_picture_made_beside_is_the_same(device: torch.device):
    latent = torch.randn(2, 4, 16, 16)
    wanted = LatentPreview(latent=latent, latent_format=SD15).image()
    placed = latent.to(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        beside = LatentPreview(latent=placed, latent_format=SD15).begun()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert beside is not None
    assert np.abs(np.asarray(beside.image()).astype(int) - np.asarray(wanted).astype(int)).max() <= 1


def test_a_picture_waits_for_its_latents(device: torch.device):
    latent = torch.zeros(1, 4, 64, 64, device=device)
    heavy = torch.randn(4096, 4096, device=device)
    for _ in range(20):
        heavy = heavy @ heavy * 1e-3
    latent += 1.0
    beside = LatentPreview(latent=latent, latent_format=SD15).begun()
    assert beside is not None
    wanted = LatentPreview(latent=torch.ones(1, 4, 64, 64), latent_format=SD15).image()
    assert np.abs(np.asarray(beside.image()).astype(int) - np.asarray(wanted).astype(int)).max() <= 1
