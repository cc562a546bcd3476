"""Texts of Flux read on a GPU: by weights that lie there, that travel layer by layer, and of 8 bits with a scale."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.loading import load_text_encoder
from tests.tiny_texts import write_encoders

pytestmark = pytest.mark.gpu

EIGHT = torch.float8_e4m3fn
TEXT = "a (red:1.3) circle, " * 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each encoder, and T5 in 8 bits with a scale and with activations beyond 16 bits."""
    folder = tmp_path_factory.mktemp("encoders")
    plain = load_file(write_encoders(folder)["t5xxl"])
    eight = dict(plain)
    for name, tensor in plain.items():
        if tensor.ndim == 2 and "relative" not in name:
            scale = tensor.float().abs().max() / 448
            eight |= {name: (tensor.float() / scale).to(EIGHT), name.replace(".weight", ".scale_weight"): scale}
    save_file(eight, folder / "eight.safetensors")
    large = {name: tensor * 300 for name, tensor in plain.items() if name.endswith(("wo.weight", "wi_1.weight"))}
    save_file(plain | large, folder / "large.safetensors")
    return folder


def load(folder: Path, name: str, memory: Memory) -> Clip:
    return load_text_encoder([folder / "clip_l.safetensors", folder / f"{name}.safetensors"], "flux", memory)


@pytest.mark.parametrize("mode", ["auto", "low"], ids=["placed", "travelling"])
@pytest.mark.parametrize("name", ["t5xxl", "eight", "large"])
def test_a_text_is_read_as_on_the_cpu(device: torch.device, folder: Path, name: str, mode: Literal["auto", "low"]):
    clip = load(folder, name, Memory(device, mode))
    [[wanted, options]] = load(folder, name, Memory(mode="cpu")).encode(TEXT)
    for _ in range(2):  # the second time in the order that was learned at the first
        [[found, own]] = clip.encode(TEXT)
        assert found.isfinite().all()
        assert (found - wanted).abs().max() / wanted.abs().max() < 1e-3
        torch.testing.assert_close(own["pooled_output"], options["pooled_output"], rtol=1e-3, atol=1e-3)
    part = clip.encoders[1].part
    assert (part.stream is not None) == (mode == "low")
    assert part.stored["encoder.block.0.layer.0.SelfAttention.q.weight"].dtype == (
        EIGHT if name == "eight" else torch.float16
    )
