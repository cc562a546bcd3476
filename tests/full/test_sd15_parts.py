"""The parts of a full-size SD1.5 model against the recordings (numeric README, "Full model")."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.weights import WeightFile, read_weights
from tests.maths.recordings import cases, error, tensors

pytestmark = pytest.mark.full

RELATIVE = 1e-3
DECODED = 2e-3
PARTS = cases("full_sd15_parts")
TEXTS = [name for name in PARTS if name.startswith("text/")]
SIGMAS = [name for name in PARTS if name.startswith("unet/") and "strength_model" not in PARTS[name]]
TILE_CELLS, OVERLAP_CELLS = 8, 2  # 64 and 16 pixels


@pytest.fixture(scope="module")
def memory() -> Memory:
    """One memory for all checkpoints of this file."""
    return Memory(torch.device("cpu"))


@pytest.fixture(scope="module")
def checkpoint(full_folder: Path, memory: Memory) -> Checkpoint:
    """The full-size checkpoint with weights resident in float32."""
    return load_checkpoint(full_folder / "sd15_random.safetensors", memory, embedding_folders=[full_folder])


@pytest.fixture(scope="module")
def cat(checkpoint: Checkpoint) -> Tensor:
    """The text embedding that the U-Net calls were recorded with."""
    return checkpoint.clip.encode(PARTS["text/cat"]["text"])[0][0]


def recorded(name: str) -> Tensor:
    """A recorded tensor of a part."""
    return tensors("full_sd15_parts")[name].float()


@pytest.fixture(scope="module")
def lora(full_folder: Path) -> WeightFile:
    """The full-size LoRA."""
    return read_weights(full_folder / "lora_sd15_random.safetensors")


@pytest.mark.parametrize("name", TEXTS)
def test_text_embeddings_are_as_recorded(checkpoint: Checkpoint, lora: WeightFile, name: str):
    case = PARTS[name]
    clip = checkpoint.clip.clone()
    if (layer := case.get("stop_at_clip_layer")) is not None:
        clip.clip_layer(layer)
    if (strength := case.get("lora_strength_clip")) is not None:
        clip = apply_lora(lora, checkpoint.model, clip, 0.0, strength)[1]
    [[embedding, condition]] = clip.encode(case["text"])
    assert list(embedding.shape) == case["full_shape"]
    found = (
        error(embedding[:, ::7], recorded(f"{name}/cond")),
        error(condition["pooled_output"], recorded(f"{name}/pooled")),
    )
    assert max(found) < RELATIVE


@pytest.mark.parametrize("name", SIGMAS)
def test_single_network_calls_are_as_recorded(checkpoint: Checkpoint, cat: Tensor, name: str):
    sigma = PARTS[name]["sigma"]
    x = recorded("unet/x") * (1 + sigma**2) ** 0.5
    checkpoint.model.load(x.shape)
    with torch.no_grad():
        denoised = checkpoint.model.model.apply(x, torch.tensor([sigma]), context=cat)
    found = error(denoised, recorded(f"{name}/denoised")), error((x - denoised) / sigma, recorded(f"{name}/eps"))
    assert max(found) < RELATIVE


def test_a_network_call_with_a_lora_is_as_recorded(checkpoint: Checkpoint, lora: WeightFile, cat: Tensor):
    case = PARTS["unet/lora"]
    model, _ = apply_lora(lora, checkpoint.model, checkpoint.clip, case["strength_model"], 0.0)
    x = recorded("unet/x") * (1 + case["sigma"] ** 2) ** 0.5
    model.load(x.shape)
    with torch.no_grad():
        denoised = model.model.apply(x, torch.tensor([case["sigma"]]), context=cat)
    weights = model.model.part.module.state_dict()
    attention = weights["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][:8, :32]
    residual = weights["middle_block.0.in_layers.2.weight"][:4, :4]
    found = (
        error(denoised, recorded("unet/lora/denoised")),
        error(attention, recorded("lora/middle_attn2_to_k[:8,:32]")),
        error(residual, recorded("lora/middle_resnet0_conv1[:4,:4]")),
    )
    assert max(found) < RELATIVE


def test_latents_decoded_in_tiles_are_as_recorded(checkpoint: Checkpoint):
    latent = recorded("vae/latent_tiled")
    picture = checkpoint.vae.decode_tiled(latent, TILE_CELLS, TILE_CELLS, OVERLAP_CELLS)[:, ::3, ::3]
    torch.testing.assert_close(picture, recorded("vae/decoded_tiled"), rtol=0, atol=DECODED)


def test_encoded_pictures_are_as_recorded(checkpoint: Checkpoint):
    assert error(checkpoint.vae.encode(recorded("vae/pixels")), recorded("vae/encoded")) < RELATIVE


def test_decoded_latents_are_as_recorded(checkpoint: Checkpoint):
    picture = checkpoint.vae.decode(recorded("vae/latent"))[:, ::2, ::2]
    torch.testing.assert_close(picture, recorded("vae/decoded"), rtol=0, atol=DECODED)
