"""Checkpoints of Stable Diffusion 3: texts by the encoders they hold, pictures, and whole files written back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.families.saving import checkpoint_texts
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.text.clip import Clip
from executor.inference.text.encoders import encoder_of
from executor.inference.text.kinds import CLIP_H
from executor.inference.text.loading import load_text_encoder
from nodes.builtin.inputs import held
from nodes.builtin.model_saving import VAE, diffusion_tensors, vae_tensors
from tests.tiny_sd3 import TinyMMDiT, checkpoint_tensors
from tests.tiny_texts import G_WIDTH, L_WIDTH, T5_WIDTH, write_encoders

SIZES = TinyMMDiT(normed=True)
CPU = Memory(mode="cpu")
ALL = ("clip_l", "clip_g", "t5xxl")


def opened(folder: Path, *texts: str) -> Checkpoint:
    """A small checkpoint with these encoders."""
    path = folder / f"sd3_{'_'.join(texts)}.safetensors"
    save_file(checkpoint_tensors(SIZES, texts=texts), path)
    return load_checkpoint(path, CPU)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Checkpoint:
    """One with everything."""
    return opened(tmp_path_factory.mktemp("whole"), *ALL)


def read(clip: Clip | None) -> tuple[Tensor, Tensor]:
    """What a text encoder makes of a text."""
    assert clip is not None
    [[text, options]] = clip.encode("a red circle")
    return text, options["pooled_output"]


def test_its_own_encoders_read_as_those_of_three_files(whole, tmp_path):
    files = write_encoders(tmp_path)
    apart = load_text_encoder([files[name] for name in ALL], "sd3", CPU)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(read(whole.clip), read(apart), strict=True))


def test_a_picture_is_drawn_and_decoded(whole):
    text = whole.clip.encode("a red circle")
    settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    latents = sample(whole.model, {"samples": torch.zeros(1, 16, 4, 6)}, positive=text, negative=text, **settings)
    assert whole.vae.decode(latents).shape == (1, 32, 48, 3)


def test_without_t5_both_clips_are_read_and_filled_up(whole, tmp_path, caplog):
    caplog.set_level("INFO")
    lacking = opened(tmp_path, "clip_l", "clip_g")
    text, pooled = read(lacking.clip)
    wanted, wanted_pooled = read(whole.clip)
    assert torch.equal(text, wanted[:, :77])
    assert torch.equal(pooled, wanted_pooled)
    assert "holds no text encoder (T5-XXL): texts are read without" in caplog.text


@pytest.mark.parametrize(
    ("lacking", "zeros"), [("clip_l", slice(0, L_WIDTH)), ("clip_g", slice(L_WIDTH, L_WIDTH + G_WIDTH))]
)
def test_without_one_clip_its_place_is_zeros(whole, tmp_path, lacking, zeros):
    text, pooled = read(opened(tmp_path, *(name for name in ALL if name != lacking)).clip)
    wanted, wanted_pooled = (each.clone() for each in read(whole.clip))
    wanted[:, :77, zeros], wanted_pooled[:, zeros] = 0.0, 0.0
    assert torch.equal(text, wanted)
    assert torch.equal(pooled, wanted_pooled)


def test_with_t5_alone_its_text_leads_and_the_pooled_vector_is_zeros(whole, tmp_path):
    text, pooled = read(opened(tmp_path, "t5xxl").clip)
    assert not pooled.any()
    assert torch.equal(text, read(whole.clip)[0][:, 77:])
    assert text.shape[-1] == T5_WIDTH


def test_without_encoders_the_file_says_so_and_nodes_say_what_to_load(tmp_path, caplog):
    bare = opened(tmp_path)
    assert "holds no text encoder: outputs made of it are empty" in caplog.text
    with pytest.raises(NodeInputError, match="holds no CLIP; load one with CLIPLoader"):
        held(bare.clip, "clip", "CLIP")


def test_a_saved_checkpoint_is_the_one_that_was_read(whole, tmp_path):
    tensors = diffusion_tensors(whole.model) | checkpoint_texts("sd3", whole.clip)
    tensors |= {VAE + name: weight for name, weight in vae_tensors(whole.vae)}
    assert tensors.keys() == whole.file.tensors.keys()
    assert all(torch.equal(tensors[name], whole.file.tensors[name]) for name in tensors)


def test_text_encoders_of_another_family_are_not_saved_into_it(whole):
    stranger = Clip(encoders=[encoder_of(CLIP_H, whole.clip.part)], memory=CPU)
    with pytest.raises(NodeInputError, match="holds CLIP-L and CLIP-G and T5-XXL; this is CLIP-H"):
        checkpoint_texts("sd3", stranger)
