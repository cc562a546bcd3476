"""Whole samplings of networks that take more than text, and what a network's output is taken to mean."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from executor.errors import NodeInputError
from executor.inference.checkpoint import model_of
from executor.inference.denoiser import Edm, Eps, VPrediction
from executor.inference.families import FAMILIES
from executor.inference.families.prediction import probed_sampling
from executor.inference.handle import ModelHandle
from executor.inference.latent_formats import PLAYGROUND_25
from executor.inference.memory import Memory, Part
from executor.inference.sample import sample
from executor.inference.unet import UNet
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import UNET, TinySizes, tiny_tensors
from tests.tiny_families import G_WIDTH, tensors_of

WIDTHS = {"sd15": 32, "sd2": 48, "sdxl": 80, "sdxl_refiner": 48}


def model(family: str, metadata: dict[str, str] | None = None, marks: tuple[str, ...] = (), **changes) -> ModelHandle:
    """The MODEL of a small file."""
    if family == "sd15":
        tensors = tiny_tensors(TinySizes(vocabulary=2, **changes), dtype=torch.float32)
    else:
        tensors = tensors_of(family, vocabulary=2, dtype=torch.float32, **changes)
    tensors |= {mark: torch.zeros(4) for mark in marks}
    file = WeightFile(path=Path("m.safetensors"), tensors=tensors, metadata=metadata or {})
    names = {name: name.removeprefix(UNET) for name in tensors if name.startswith(UNET)}
    for each in FAMILIES:
        if (found := each.build_diffusion(file, names)) is not None:
            return model_of(found, each, Memory(mode="cpu"))
    raise AssertionError(family)


def conditioning(family: str, **options: object) -> list[list[object]]:
    """Random text for a family."""
    generator = torch.Generator().manual_seed(3)
    text = torch.randn(1, 77, WIDTHS[family], generator=generator)
    return [[text, {"pooled_output": torch.randn(1, G_WIDTH, generator=generator), **options}]]


def drawn(handle: ModelHandle, positive, negative, latent: dict[str, Tensor] | None = None) -> Tensor:
    """Latents after two steps."""
    latent = latent or {"samples": torch.zeros(2, 4, 8, 6)}
    settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal"}
    return sample(handle, latent, positive=positive, negative=negative, **settings)


def caught(handle: ModelHandle) -> list[dict[str, object]]:
    """What the network is given from now on."""
    calls: list[dict[str, object]] = []
    network = handle.model.diffusion_model

    def catch(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        calls.append({"x": args[0], **kwargs})

    network.register_forward_pre_hook(catch, with_kwargs=True)
    return calls


def test_both_sides_of_sdxl_go_into_one_call_with_a_vector_each():
    handle = model("sdxl")
    calls = caught(handle)
    drawn(handle, conditioning("sdxl", width=512), conditioning("sdxl"))
    assert len(calls) == 2
    assert calls[0]["y"].shape == (4, G_WIDTH + 6 * 256)
    assert torch.equal(calls[0]["y"][0], calls[0]["y"][1])
    assert not torch.equal(calls[0]["y"][0], calls[0]["y"][2])


def test_sizes_change_the_picture_of_sdxl():
    handle, negative = model("sdxl"), conditioning("sdxl")
    wide, narrow = (drawn(handle, conditioning("sdxl", width=width), negative) for width in (2048, 64))
    assert not torch.allclose(wide, narrow)


def test_text_of_another_model_is_refused():
    with pytest.raises(NodeInputError, match="pooled vector of width 48"):
        drawn(model("sdxl"), [[torch.zeros(1, 77, 80), {}]], conditioning("sdxl"))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_text_of_another_width_is_refused(family):
    other = conditioning("sd2")
    with pytest.raises(NodeInputError, match=rf"takes text of width {WIDTHS[family]}, and this conditioning has 48\."):
        drawn(model(family), conditioning(family), other)


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_inpainting_models_see_mask_and_picture_beside_the_noise(family):
    handle = model(family, in_channels=9)
    calls = caught(handle)
    mask = torch.zeros(1, 1, 64, 48)
    mask[..., :32] = 1
    given = conditioning(family, concat_latent_image=torch.ones(1, 4, 8, 6), concat_mask=mask)
    drawn(handle, given, given)
    [beside] = calls[0]["x"][:, 4:].unique(dim=0)
    assert (beside[0, :, :4] == 1).all()
    assert (beside[0, :, 4:] == 0).all()
    assert torch.allclose(beside[1:], torch.tensor(handle.latent_format.scale_factor))


def test_an_area_sees_its_part_of_the_picture():
    handle = model("sd15", in_channels=9)
    calls = caught(handle)
    rows = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1, 4, 8, 6)
    given = conditioning("sd15", concat_latent_image=rows, area=(4, 6, 2, 0))
    drawn(handle, given, conditioning("sd15"))
    [call] = [call for call in calls if call["x"].shape[-2] == 4][:1]
    assert torch.allclose(call["x"][0, 5, :, 0], 0.18215 * torch.arange(2.0, 6.0))


def test_the_noise_mask_serves_inpainting_models_without_a_picture():
    handle = model("sd15", in_channels=9)
    calls = caught(handle)
    latent = {"samples": torch.ones(2, 4, 8, 6), "noise_mask": torch.ones(1, 1, 64, 48)}
    latent["noise_mask"][..., :32, :] = 0
    drawn(handle, conditioning("sd15"), conditioning("sd15"), latent)
    assert (calls[0]["x"][:, 4, :4] == 0).all()
    assert torch.allclose(calls[0]["x"][:, 5:, :4], torch.tensor(0.18215))
    assert (calls[0]["x"][:, 5:, 4:] == 0).all()


def test_editing_models_see_the_picture_unscaled():
    handle = model("sd15", in_channels=8)
    calls = caught(handle)
    given = conditioning("sd15", concat_latent_image=torch.ones(1, 4, 8, 6))
    drawn(handle, given, conditioning("sd15"))
    assert calls[0]["x"].shape[1] == 8
    assert (calls[0]["x"][:2, 4:] == 1).all()
    assert (calls[0]["x"][2:, 4:] == 0).all()


@pytest.mark.parametrize("marks", [("v_pred",), (f"{UNET}v_pred", "ztsnr")])
def test_marks_of_v_prediction(marks):
    found = model("sdxl", marks=marks).model_sampling
    assert isinstance(found.prediction, VPrediction)
    assert (found.sigma_max > 100) == ("ztsnr" in marks)


@pytest.mark.parametrize(("told", "kind"), [("v", VPrediction), ("epsilon", Eps)])
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_the_header_tells_the_prediction(family, told, kind):
    found = model(family, {"modelspec.prediction_type": told}).model_sampling
    assert type(found.prediction) is kind


def test_playground_has_levels_and_latents_of_its_own():
    handle = model("sdxl", marks=("edm_mean", "edm_std"))
    assert isinstance(handle.model_sampling.prediction, Edm)
    assert handle.latent_format is PLAYGROUND_25


def linear_answer(network: UNet, *, noise: bool) -> Part[nn.Module]:
    """A network whose input passes to its output, or whose output is the same everywhere."""
    first, last = network.input_blocks[0][0], network.out[2]
    for weight in network.parameters():
        weight.data.zero_()
    for norm in (network.out[0], *(m for m in network.modules() if isinstance(m, nn.GroupNorm))):
        norm.weight.data.fill_(1.0)
    if noise:
        for channel in range(4):
            first.weight.data[channel, channel, 1, 1] = 1.0
        last.weight.data[range(4), range(4), 1, 1] = 1.0
        skip = network.output_blocks[-1][0].skip_connection
        skip.weight.data[range(4), [skip.in_channels - first.out_channels + n for n in range(4)], 0, 0] = 1.0
    last.bias.data.copy_(torch.tensor([1.0, -1.0, 0.5, 0.0]))
    return Part("network", "diffusion", network, dict(network.named_parameters()), {})


@pytest.mark.parametrize("channels", [4, 9])
@pytest.mark.parametrize(("noise", "kind"), [(True, Eps), (False, VPrediction)])
def test_a_network_that_answers_noise_with_noise_predicts_it(noise, kind, channels):
    network = model("sd2", {"modelspec.prediction_type": "v"}, in_channels=channels).model.diffusion_model
    assert type(probed_sampling(linear_answer(network, noise=noise)).prediction) is kind
