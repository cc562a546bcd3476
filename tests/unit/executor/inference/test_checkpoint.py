"""A file opened as model, text encoder and VAE."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from executor.errors import ModelFileError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

UNET = "model.diffusion_model."


def test_loading_copies_no_weights(tiny_file):
    checkpoint = load_checkpoint(tiny_file, Memory(mode="cpu"))
    parts = (checkpoint.model.model.part, checkpoint.clip.part, checkpoint.vae.part)
    assert [part.resident_bytes() for part in parts] == [0, 0, 0]


def test_low_memory_gives_the_same_numbers(tiny_file):
    x, sigma = torch.randn(1, 4, 8, 8), torch.tensor([5.0])
    results = []
    for mode in ("cpu", "low"):
        memory = Memory(torch.device("cpu"), mode)
        checkpoint = load_checkpoint(tiny_file, memory)
        [[context, _]] = checkpoint.clip.encode("a red circle")
        checkpoint.model.load(x.shape)
        with torch.no_grad():
            results.append(checkpoint.model.model.apply(x, sigma, context=context))
    torch.testing.assert_close(results[0], results[1])


def test_low_memory_copies_no_weights_while_computing(tiny_file):
    checkpoint = load_checkpoint(tiny_file, Memory(torch.device("cpu"), "low"))
    checkpoint.vae.decode(torch.randn(1, 4, 2, 2))
    assert checkpoint.vae.part.module.quant_conv.weight.dtype == torch.float16


def test_head_counts_come_from_the_header(tmp_path):
    sizes = TinySizes(vocabulary=100, widths=(16,), attends=(True,))
    path = write_tiny_checkpoint(tmp_path / "m.safetensors", sizes, {"unet": {"heads": 2}, "text": {"heads": 8}})
    checkpoint = load_checkpoint(path, Memory(mode="cpu"))
    unet = checkpoint.model.model.part.module
    heads = unet.middle_block[1].transformer_blocks[0].attn1.heads
    assert (heads, checkpoint.clip.part.module.shape.heads) == (2, 8)


def test_a_checkpoint_saved_by_torch_loads_too(tiny_file, tmp_path):
    torch.save({"state_dict": load_file(tiny_file)}, tmp_path / "m.ckpt")
    checkpoint = load_checkpoint(tmp_path / "m.ckpt", Memory(mode="cpu"))
    assert checkpoint.model.family == "sd15"


def test_a_network_alone_opens_as_a_model_without_text_encoder_and_vae(tiny_file, tmp_path, caplog):
    bare = {name.removeprefix(UNET): weight for name, weight in load_file(tiny_file).items() if name.startswith(UNET)}
    save_file(bare, tmp_path / "alone.safetensors")
    checkpoint = load_checkpoint(tmp_path / "alone.safetensors", Memory(mode="cpu"))
    assert (checkpoint.model.family, checkpoint.clip, checkpoint.vae) == ("sd15", None, None)
    assert "alone.safetensors holds a diffusion model alone" in caplog.text


def test_a_network_alone_that_lacks_weights_is_refused_by_what_it_lacks(tiny_file, tmp_path):
    bare = {name.removeprefix(UNET): weight for name, weight in load_file(tiny_file).items() if name.startswith(UNET)}
    del bare["time_embed.0.weight"]
    save_file(bare, tmp_path / "part.safetensors")
    with pytest.raises(ModelFileError, match=r"part\.safetensors.*time_embed\.0\.weight"):
        load_checkpoint(tmp_path / "part.safetensors", Memory(mode="cpu"))


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "half.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelFileError, match=r"half\.safetensors"):
        load_checkpoint(tmp_path / "half.safetensors", Memory(mode="cpu"))


def test_whole_numbers_as_weights_are_refused_by_name(tiny_file, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(tiny_file)
    key = next(key for key in tensors if key.endswith("input_blocks.0.0.weight"))
    tensors[key] = tensors[key].to(torch.int8)
    save_file(tensors, tmp_path / "whole.safetensors")
    with pytest.raises(ModelFileError, match=r"whole\.safetensors: its UNet holds input_blocks\.0\.0\.weight as int8"):
        load_checkpoint(tmp_path / "whole.safetensors", Memory(mode="cpu"))
