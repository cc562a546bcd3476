"""A whole sampling of Qwen-Image, text to picture, against a small loop over diffusers' and transformers' modules."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import load_diffusion_model
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.text.chat import chat_ids_of
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae
from tests.maths.recordings import error
from tests.maths.test_qwen_image import answered, theirs
from tests.maths.test_wan_sampling import DEVIATION, MEAN, channels
from tests.maths.test_wan_vae import theirs as their_vae
from tests.tiny_qwen import WIDTH, qwen_tensors, write_qwen
from tests.tiny_qwen_image import TINY_QWEN_IMAGE, random_qwen_image, write_qwen_image
from tests.tiny_wan_vae import random_vae, write_wan_vae
from tests.transformers_qwen import patches, their_qwen

BOUND = 5e-5  # of pictures in 0..1 after encoder, four guided steps and decoder
CFG = 4.0
CPU = Memory(mode="cpu")
SETTINGS = {"seed": 7, "steps": 4, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple"}
SIGMAS = [1.15 * time / (1 + 0.15 * time) for time in (1.0, 0.75, 0.5, 0.25, 0.0)]
PICTURE = 151655
DRAW = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
EDIT = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def reader():
    """transformers' Qwen2.5-VL with the weights of the file."""
    return their_qwen(qwen_tensors(dtype=torch.float16), layers=2, heads=1, picture=PICTURE)


@torch.no_grad()
def read(module, prompt: str, picture: Tensor | None) -> Tensor:
    """What transformers' model makes of a prompt, without what stands before the user's words."""
    if picture is None:
        return module(input_ids=torch.tensor([chat_ids_of(DRAW.format(prompt))])).last_hidden_state[:, 34:]
    rows, columns = (side // 28 for side in picture.shape[-2:])
    ids: list[int] = []
    for each in chat_ids_of(EDIT.format(prompt)):
        ids += [each] * (rows * columns if each == PICTURE else 1)
    known = torch.tensor([ids])
    return module(
        input_ids=known,
        mm_token_type_ids=(known == PICTURE).int(),
        attention_mask=torch.ones_like(known),
        pixel_values=patches(picture),
        image_grid_thw=torch.tensor([[1, 2 * rows, 2 * columns]]),
    ).last_hidden_state[:, 64:]


def sampled_by_diffusers(x: Tensor, texts: list[Tensor], pictures: list[Tensor]) -> Tensor:
    """Euler's steps along the straight path, guided."""
    module, (height, width) = theirs(random_qwen_image_of_texts()), x.shape[-2:]
    for sigma, following in pairwise(SIGMAS):
        follow, avoid = (
            answered(module, x, {"context": text, "timesteps": torch.tensor([sigma])}, pictures) for text in texts
        )
        tokens = avoid + CFG * (follow - avoid)
        cells = tokens.view(len(x), height // 2, width // 2, 16, 2, 2).permute(0, 3, 1, 4, 2, 5)
        x = x + (following - sigma) * cells.reshape(x.shape)
    return x


def random_qwen_image_of_texts():
    """The network that takes what the small Qwen2.5-VL gives."""
    return random_qwen_image(replace(TINY_QWEN_IMAGE, context=WIDTH))


@pytest.mark.parametrize("edited", [False, True], ids=["text", "edit"])
def test_pictures_are_diffusers(edited, reader, tmp_path):
    clip = load_text_encoder([write_qwen(tmp_path / "qwen.safetensors")], "qwen_image", CPU)
    model = load_diffusion_model(write_qwen_image(tmp_path / "network.safetensors", context=WIDTH), CPU)
    vae, their = load_vae(write_wan_vae(tmp_path / "vae.safetensors"), CPU), their_vae(random_vae())
    picture, pictures = None, []
    prompts = ("a cat", "")
    if edited:
        picture = torch.rand(1, 3, 56, 84, generator=torch.manual_seed(2))
        shown = picture.movedim(1, -1)
        beside = {"reference_latents": [vae.encode(shown[:, :48, :80])]}
        texts = [
            clip.encode_from_tokens_scheduled(clip.tokenize(each, images=[shown]), add_dict=beside) for each in prompts
        ]
        latents = their.encode(picture[:, :, None, :48, :80] * 2 - 1).latent_dist.mean
        pictures = [(latents - channels(MEAN)) / channels(DEVIATION)]
    else:
        texts = [clip.encode(each) for each in prompts]
    empty = {"samples": torch.zeros(1, 16, 6, 4)}
    found = vae.decode(sample(model, empty, positive=texts[0], negative=texts[1], **SETTINGS))
    noise = torch.randn(1, 16, 1, 6, 4, generator=torch.manual_seed(7))
    x = sampled_by_diffusers(noise, [read(reader, each, picture) for each in prompts], pictures)
    wanted = their.decode(x * channels(DEVIATION) + channels(MEAN)).sample.movedim(1, -1) / 2 + 0.5
    assert found.shape == (1, 1, 48, 32, 3)
    assert found.std() > 0.05
    assert error(found, wanted) < BOUND
