"""A whole sampling of Wan, text to pictures, against a small loop over diffusers' and transformers' modules."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from executor.inference.checkpoint import load_diffusion_model
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae
from tests.maths.recordings import error
from tests.maths.test_wan import theirs
from tests.maths.test_wan_vae import theirs as their_vae
from tests.tiny_umt5 import HEADS, LAYERS, WIDTH, umt5_tensors, write_umt5
from tests.tiny_wan import LED, TINY_WAN, random_wan, write_wan
from tests.tiny_wan_vae import random_vae, write_wan_vae

BOUND = 5e-5  # of pictures in 0..1 after encoder, four guided steps and decoder
CFG = 5.0
CPU = Memory(mode="cpu")
SETTINGS = {"seed": 7, "steps": 4, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple"}
SIGMAS = [8 * time / (1 + 7 * time) for time in (1.0, 0.75, 0.5, 0.25, 0.0)]
MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508]
MEAN += [0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
DEVIATION = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743]
DEVIATION += [3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


def channels(values: list[float]) -> Tensor:
    return torch.tensor(values).reshape(1, 16, 1, 1, 1)


def read(ids: list[int]) -> Tensor:
    """What transformers' UMT5 makes of ids, in 512 places; those behind the end are zeros."""
    sizes = {"num_layers": LAYERS, "num_heads": HEADS, "feed_forward_proj": "gated-gelu"}
    module = UMT5EncoderModel(UMT5Config(vocab_size=300, d_model=WIDTH, d_kv=8, d_ff=2 * WIDTH, **sizes)).eval()
    tensors = {name: each for name, each in umt5_tensors().items() if name != "spiece_model"}
    module.load_state_dict(tensors, strict=False)
    module.encoder.embed_tokens.weight = module.shared.weight
    padded = torch.tensor([[*ids, 1] + [0] * (511 - len(ids))])
    with torch.no_grad():
        hidden = module(padded, attention_mask=(padded != 0).long()).last_hidden_state
    return hidden * (padded != 0)[..., None]


def sampled_by_diffusers(shape, x: Tensor, texts: list[Tensor], beside: Tensor | None, seen: Tensor | None) -> Tensor:
    """Euler's steps along the straight path, guided."""
    module = theirs(random_wan(shape))
    for sigma, following in pairwise(SIGMAS):
        given = x if beside is None else torch.cat([x, beside], dim=1)
        with torch.no_grad():
            follow, avoid = (
                module(given, torch.tensor([1000 * sigma]), text, encoder_hidden_states_image=seen).sample
                for text in texts
            )
        x = x + (following - sigma) * (avoid + CFG * (follow - avoid))
    return x


@pytest.mark.parametrize("led", [False, True], ids=["text", "picture"])
def test_pictures_are_diffusers(led, tmp_path):
    changes = LED if led else {}
    clip = load_text_encoder([write_umt5(tmp_path / "umt5.safetensors")], "wan", CPU)
    model = load_diffusion_model(write_wan(tmp_path / "wan.safetensors", **changes), CPU)
    vae, their = load_vae(write_wan_vae(tmp_path / "vae.safetensors"), CPU), their_vae(random_vae())
    options, beside, seen = {}, None, None
    if led:
        first = torch.rand(1, 3, 1, 48, 32, generator=torch.manual_seed(2))
        video = torch.cat([first, torch.full((1, 3, 8, 48, 32), 0.5)], dim=2)
        seen = torch.randn(1, 7, 20)
        mask = torch.ones(1, 1, 3, 6, 4)
        mask[:, :, 0] = 0.0
        options = {
            "concat_latent_image": vae.encode(video[0].movedim(0, -1)),
            "concat_mask": mask,
            "clip_vision_output": SimpleNamespace(penultimate_hidden_states=seen),
        }
        latents = (their.encode(video * 2 - 1).latent_dist.mean - channels(MEAN)) / channels(DEVIATION)
        beside = torch.cat([(1.0 - mask).expand(-1, 4, -1, -1, -1), latents], dim=1)
    positive, negative = ([[each[0], {**each[1], **options}] for each in clip.encode(t)] for t in ("a cat", "cats"))
    empty = {"samples": torch.zeros(1, 16, 3, 6, 4)}
    found = vae.decode(sample(model, empty, positive=positive, negative=negative, **SETTINGS))
    texts = [
        read([place.token for place in clip.tokenize(t)["umt5xxl"][0] if place.token > 1]) for t in ("a cat", "cats")
    ]
    noise = torch.randn(1, 16, 3, 6, 4, generator=torch.manual_seed(7))
    x = sampled_by_diffusers(model.model.part.module.shape, noise, texts, beside, seen)
    wanted = their.decode(x * channels(DEVIATION) + channels(MEAN)).sample.movedim(1, -1) / 2 + 0.5
    assert found.shape == (1, 9, 48, 32, 3)
    assert found.std() > 0.05
    assert error(found, wanted) < BOUND


def test_the_networks_shape_is_read(tmp_path):
    model = load_diffusion_model(write_wan(tmp_path / "wan.safetensors"), CPU)
    assert model.model.part.module.shape == TINY_WAN
