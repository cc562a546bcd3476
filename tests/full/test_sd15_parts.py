"""The parts of a full-size SD1.5 model against the recordings (numeric README, "Full model")."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.memory import Memory
from tests.maths.recordings import cases, error, tensors

pytestmark = pytest.mark.full

RELATIVE = 1e-3
DECODED = 2e-3
PARTS = cases("full_sd15_parts")
TEXTS = [name for name in PARTS if name.startswith("text/") and "lora_strength_clip" not in PARTS[name]]
SIGMAS = [name for name in PARTS if name.startswith("unet/") and "strength_model" not in PARTS[name]]


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


@pytest.mark.parametrize("name", TEXTS)
def test_text_embeddings_are_as_recorded(checkpoint: Checkpoint, name: str):
    case = PARTS[name]
    layer = case.get("stop_at_clip_layer")
    clip = checkpoint.clip if layer is None else checkpoint.clip.clip_layer(layer)
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


def test_encoded_pictures_are_as_recorded(checkpoint: Checkpoint):
    assert error(checkpoint.vae.encode(recorded("vae/pixels")), recorded("vae/encoded")) < RELATIVE


def test_decoded_latents_are_as_recorded(checkpoint: Checkpoint):
    picture = checkpoint.vae.decode(recorded("vae/latent"))[:, ::2, ::2]
    torch.testing.assert_close(picture, recorded("vae/decoded"), rtol=0, atol=DECODED)
