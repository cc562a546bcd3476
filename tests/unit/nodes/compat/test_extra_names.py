"""Names that packs import beside the usual ones: node classes under the names of their classes, and odd spellings."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from executor.inference.denoiser import consistency
from nodes.builtin.post_processing import ImageBlend, ImageBlur, ImageQuantize
from tests.maths.recordings import toy_handle
from tests.unit.nodes.compat.conftest import Host


def test_post_processing_classes_have_their_short_names(host: Host):
    module = host("comfy_extras.nodes_post_processing")
    assert (module.Blend, module.Blur, module.Quantize) == (ImageBlend, ImageBlur, ImageQuantize)


def test_both_spellings_of_the_initial_device_answer(host: Host):
    management = host("comfy.model_management")
    assert management.unet_initial_load_device is management.unet_inital_load_device


class Copied:
    """A model whose copies can be told from it."""

    def clone(self) -> Copied:
        return Copied()


def test_a_lora_without_known_keys_changes_nothing_and_warns(host: Host, caplog: pytest.LogCaptureFixture):
    model, clip = Copied(), Copied()
    with caplog.at_level(logging.WARNING, "weft.packs"):
        changed = host("comfy.sd").load_lora_for_models(model, clip, {}, 1.0, 1.0)
    assert [type(one) for one in changed] == [Copied, Copied]
    assert changed[0] is not model
    assert caplog.messages


def conditioning(value: float) -> list[list[object]]:
    return [[torch.full((1, 4, 768), value), {}]]


def test_noise_classes_are_those_of_the_nodes(host: Host):
    module = host("comfy_extras.nodes_custom_sampler")
    latent = {"samples": torch.zeros(1, 4, 2, 2)}
    noise = module.Noise_RandomNoise(7)
    assert isinstance(module.RandomNoise().get_noise(7)[0], module.Noise_RandomNoise)
    assert torch.equal(noise.generate_noise(latent), module.RandomNoise().get_noise(7)[0].generate_noise(latent))
    assert module.Noise_EmptyNoise().seed == 0
    assert not module.Noise_EmptyNoise().generate_noise(latent).any()


def test_a_pack_mixes_noises_in_a_class_of_its_own(host: Host):
    module = host("comfy_extras.nodes_custom_sampler")

    class Mixed(module.Noise_RandomNoise):
        def generate_noise(self, input_latent: dict[str, Tensor]) -> Tensor:
            return super().generate_noise(input_latent) / 2

    latent = {"samples": torch.zeros(1, 4, 2, 2)}
    assert torch.equal(Mixed(3).generate_noise(latent) * 2, module.Noise_RandomNoise(3).generate_noise(latent))


@pytest.mark.parametrize(
    ("module", "name", "sides", "scales"),
    [
        ("custom_sampler", "Guider_Basic", ["positive"], None),
        ("custom_sampler", "Guider_DualCFG", ["positive", "middle", "negative"], (2.0, 3.0)),
        ("perpneg", "Guider_PerpNeg", ["positive", "negative", "empty_negative_prompt"], (2.0, 0.5)),
    ],
)
def test_guiders_take_their_sides_and_scales(
    host: Host, module: str, name: str, sides: list[str], scales: tuple[float, ...] | None
):
    guider = getattr(host(f"comfy_extras.nodes_{module}"), name)(toy_handle("eps_sd15"))
    guider.set_conds(*(conditioning(float(place)) for place, _ in enumerate(sides)))
    if scales is not None:
        guider.set_cfg(*scales)
    held = {side: entries[0]["cross_attn"].mean().item() for side, entries in guider.original_conds.items()}
    assert held == {side: place for place, side in enumerate(sides)}


def test_composite_pastes_in_cells_of_a_multiplier(host: Host):
    mask = host("comfy_extras.nodes_mask")
    below, above = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 4, 4)
    pasted = mask.composite(below, above, 16, 8)
    assert pasted[0, 0].nonzero().amin(0).tolist() == [1, 2]
    assert pasted.sum() == 16
    assert mask.composite(below, above, 6, 6, multiplier=1).sum() == 4
    assert mask.composite(below, above, 0, 0, torch.ones(1, 4, 4) / 2, 1, True).sum() == 32


def test_composite_is_the_node_s_own(host: Host):
    module = host("comfy_extras.nodes_mask")
    generator = torch.Generator().manual_seed(0)
    below, above = (torch.rand(2, 4, 8, 8, generator=generator) for _ in range(2))
    mask = torch.rand(1, 64, 64, generator=generator)
    pasted = module.composite(below, above, 24, -8, mask=mask)
    [node] = module.LatentCompositeMasked().composite({"samples": below}, {"samples": above}, 24, -8, False, mask)
    assert torch.equal(pasted, node["samples"])


def test_latents_in_the_shape_of_others(host: Host):
    module, latent = host("comfy_extras.nodes_latent"), torch.rand(1, 4, 4, 4)
    assert module.reshape_latent_to((3, 4, 8, 6), latent).shape == (3, 4, 8, 6)
    assert module.reshape_latent_to((3, 4, 8, 6), latent, repeat_batch=False).shape == (1, 4, 8, 6)


def test_small_functions_of_extra_modules(host: Host):
    kernel = host("comfy_extras.nodes_post_processing").gaussian_kernel(5, 0.7)
    assert kernel.shape == (5, 5)
    assert kernel.sum().item() == pytest.approx(1.0)
    x = torch.rand(1, 2, 8, 8)
    assert torch.allclose(host("comfy_extras.nodes_freelunch").Fourier_filter(x, 1, 1.0), x, atol=1e-6)
    steps = host("comfy_extras.nodes_align_your_steps")
    levels = steps.loglinear_interp(steps.NOISE_LEVELS["SD1"], 21)
    assert levels[::2] == pytest.approx(steps.NOISE_LEVELS["SD1"], rel=1e-6)


def test_nodes_are_called_the_v3_way_on_their_class(host: Host):
    grown = host("comfy_extras.nodes_mask").GrowMask.execute(torch.eye(4)[None], 1, True)
    assert torch.equal(grown[0], grown.result[0])
    assert torch.equal(grown[0], host("comfy_extras.nodes_mask").GrowMask().expand_mask(torch.eye(4)[None], 1, True)[0])


def test_a_node_whose_own_method_is_execute_is_called_both_ways(host: Host):
    node = host("comfy_extras.nodes_string").StringLength
    assert node.execute("four")[0] == node().execute("four")[0] == 4


def test_nodes_answer_by_the_methods_that_packs_know(host: Host):
    latent = {"samples": torch.ones(1, 4, 2, 2)}
    [doubled] = host("comfy_extras.nodes_latent").LatentMultiply().op(latent, 2.0)
    assert doubled["samples"].unique().tolist() == [2.0]
    image, mask = (
        host("comfy_extras.nodes_compositing").SplitImageWithAlpha().split_image_with_alpha(torch.ones(1, 2, 2, 4))
    )
    assert image.shape[-1] == 3
    assert mask.sum() == 0


def test_a_distilled_sampling_of_a_packs_own(host: Host):
    module = host("comfy_extras.nodes_model_advanced")
    made = type("Both", (module.ModelSamplingDiscreteDistilled, module.LCM), {})()
    assert torch.equal(made.sigmas, consistency().sigmas)
    x, out = torch.rand(1, 4, 2, 2), torch.rand(1, 4, 2, 2)
    sigma = made.sigmas[10:11]
    assert torch.equal(made.calculate_denoised(sigma, out, x), consistency().calculate_denoised(sigma, out, x))
