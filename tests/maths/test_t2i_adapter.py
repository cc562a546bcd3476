"""T2I-Adapters of every kind against diffusers' of the same weights: what they make, and where UNets add it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from executor.errors import ModelFileError
from executor.inference.control import Window
from executor.inference.controlnet import AdapterControl, load_controlnet
from executor.inference.denoiser import discrete_eps
from executor.inference.extras import Situation
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.families.sd15 import SD15
from executor.inference.families.sdxl import SDXL
from executor.inference.memory import Memory
from executor.inference.weights import WeightFile
from tests.maths.recordings import error
from tests.maths.test_families import BOUND, filled

CPU = Memory(mode="cpu")
KINDS = {
    "full": {"channels": [8, 12, 16, 16], "num_res_blocks": 2, "adapter_type": "full_adapter"},
    "full, grey": {"channels": [8, 12, 16, 16], "num_res_blocks": 2, "in_channels": 1},
    "light": {"channels": [8, 12, 16], "num_res_blocks": 4, "adapter_type": "light_adapter"},
    "sdxl": {"channels": [8, 12, 16, 16], "adapter_type": "full_adapter_xl", "downscale_factor": 16},
}
CELLS = (16, 24)


class Model:
    """What a control asks of the model it steers."""

    model_sampling = discrete_eps()


def theirs(kind: str) -> nn.Module:
    from diffusers.models.adapter import T2IAdapter

    return filled(T2IAdapter(**KINDS[kind]))


def control_of(tensors, tmp_path) -> AdapterControl:
    path = tmp_path / "sketch.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    control = load_controlnet(path, CPU)
    assert isinstance(control, AdapterControl)
    return control


def features(control, hint, cells=CELLS, strength=1.0):
    control.set_cond_hint(hint, strength)
    control.pre_run(Model(), Model.model_sampling.percent_to_sigma)
    return control.get_control(torch.zeros(1, 4, *cells), torch.tensor([1.0]), {}, 1, {})


def original(name: str, *, light: bool) -> str:
    """The authors' name of a tensor that diffusers names."""
    bare = name.removeprefix("adapter.")
    if light:
        return bare.replace("resnets", "body")
    level, _, rest = bare.removeprefix("body.").partition(".")
    if rest.startswith("resnets."):
        place, _, rest = rest.removeprefix("resnets.").partition(".")
        return f"body.{int(level) * 2 + int(place)}.{rest}"
    return f"body.{int(level) * 2}.{rest}" if rest.startswith("in_conv") else bare


@pytest.mark.parametrize("named", ["diffusers", "original"])
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_diffusers(kind, named, tmp_path):
    adapter = theirs(kind)
    tensors = adapter.state_dict()
    if named == "original":
        tensors = {original(name, light=kind == "light"): tensor for name, tensor in tensors.items()}
    hint = torch.rand(1, 3, CELLS[0] * 8, CELLS[1] * 8)
    found = features(control_of(tensors, tmp_path), hint, strength=0.5)
    with torch.no_grad():
        wanted = adapter(hint.mean(dim=1, keepdim=True) if kind == "full, grey" else hint)
    mine = [each for each in [*found["input"][::-1], *found["middle"]] if each is not None]
    assert max(error(a, 0.5 * b) for a, b in zip(mine, wanted, strict=True)) < BOUND


def unet_of(family):
    from diffusers import UNet2DConditionModel

    several = {
        "SD1.x": {
            "block_out_channels": (32, 64, 64, 64),
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": 8,
            "cross_attention_dim": 24,
        },
        "SDXL": {
            "block_out_channels": (32, 64, 128),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (1, 1, 2),
            "cross_attention_dim": 96,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 32 + 256 * 6,
        },
    }
    return filled(UNet2DConditionModel(layers_per_block=2, **several[family]))


@pytest.mark.parametrize(
    ("family", "kind", "widths"), [("SD1.x", "full", [32, 64, 64, 64]), ("SDXL", "sdxl", [32, 64, 128, 128])]
)
def test_the_unet_adds_them_where_diffusers_does(family, kind, widths, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS[kind], "channels", widths)
    adapter, unet = theirs(kind), unet_of(family)
    file = WeightFile(path=Path("unet.safetensors"), tensors=unet.state_dict())
    ours = {"SD1.x": SD15, "SDXL": SDXL}[family].build_diffusion(file, original_unet_names(file.tensors))
    width = unet.config.cross_attention_dim
    x, timestep, text = torch.randn(1, 4, *CELLS), torch.tensor([311.0]), torch.randn(1, 7, width)
    pooled, sizes = torch.randn(1, 32), torch.tensor([[128.0, 192, 0, 0, 128, 192]])
    hint = torch.rand(1, 3, CELLS[0] * 8, CELLS[1] * 8)
    control = features(control_of(adapter.state_dict(), tmp_path), hint)
    given = {}
    for extra in ours.extras:
        given |= extra({"pooled_output": pooled}, Situation(shape=x.shape))
    with torch.no_grad():
        beside = {"text_embeds": pooled, "time_ids": sizes} if family == "SDXL" else None
        added = {"down_intrablock_additional_residuals": adapter(hint)}
        wanted = unet(x, timestep, text, added_cond_kwargs=beside, **added).sample
        plain = unet(x, timestep, text, added_cond_kwargs=beside).sample
        found = ours.part.module(x, timestep, text, control=control, **given)
    assert error(plain, wanted) > 1e-3
    assert error(found, wanted) < BOUND


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_odd_sides_get_features_of_theirs(kind, tmp_path):
    found = features(control_of(theirs(kind).state_dict(), tmp_path), torch.rand(1, 3, 100, 60), cells=(13, 7))
    shapes = [tuple(each.shape[-2:]) for each in [*found["input"][::-1], *found["middle"]] if each is not None]
    halves = [(13, 7), (7, 4), (4, 2), (2, 1)]
    assert shapes == ([halves[1], halves[1], halves[2], halves[2]] if kind == "sdxl" else halves)


def test_an_adapter_of_another_family_is_refused(tmp_path):
    tensors = theirs("full").state_dict()
    tensors["adapter.conv_in.weight"] = torch.zeros(8, 3 * 32 * 32, 3, 3)
    with pytest.raises(ModelFileError, match=r"another family than SD1\.x, SD2\.x and SDXL"):
        control_of(tensors, tmp_path)


@pytest.mark.parametrize("missing", ["adapter.conv_in.weight", "adapter.body.0.resnets.1.block2.bias"])
def test_an_adapter_with_a_part_missing_is_refused_by_its_name(missing, tmp_path):
    tensors = theirs("full").state_dict()
    del tensors[missing]
    with pytest.raises(ModelFileError, match="its T2I-Adapter lacks"):
        control_of(tensors, tmp_path)


def test_a_window_of_odd_width_is_filled_up_to_whole_blocks(tmp_path):
    control = control_of(theirs("sdxl").state_dict(), tmp_path)
    control.window = Window(dim=3, indices=(4, 5, 6), count=CELLS[1])
    found = features(control, torch.rand(1, 3, 64, 64), cells=(CELLS[0], 3))
    assert [tuple(each.shape[-2:]) for each in found["input"] if each is not None] == [(4, 1), (8, 2), (8, 2)]
