"""comfy.samplers, comfy.sample, comfy.sd and what packs build of them, on a tiny random checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.inference import seams
from executor.inference.handle import ModelHandle
from executor.inference.sample import sample as core_sample
from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.tiny_texts import write_encoders
from tests.unit.nodes.compat.conftest import Host

SEED, STEPS, CFG = 5, 3, 4.0


@dataclass
class Bench:
    """A tiny model with both sides of its guidance, and what Weft samples with it."""

    host: Host
    model: ModelHandle
    positive: list[object]
    negative: list[object]
    latent: Tensor

    def weft(self, sampler: str = "euler", scheduler: str = "normal") -> Tensor:
        settings = {"seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": sampler, "scheduler": scheduler}
        sides = {"positive": self.positive, "negative": self.negative}
        return core_sample(self.model, {"samples": self.latent}, **settings, **sides)

    def pack(self, sampler: str = "euler", **more: object) -> Tensor:
        given = (sampler, "normal", self.positive, self.negative, self.latent)
        return self.host("comfy.sample").sample(self.model, self.noise(), STEPS, CFG, *given, seed=SEED, **more)

    def noise(self) -> Tensor:
        return self.host("comfy.sample").prepare_noise(self.latent, SEED)

    def guided(self, guider: object, sampler: object) -> Tensor:
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(CFG)
        sampling = self.model.get_model_object("model_sampling")
        sigmas = self.host("comfy.samplers").calculate_sigmas(sampling, "normal", STEPS)
        return guider.sample(self.noise(), self.latent, sampler, sigmas, seed=SEED)


@pytest.fixture
def bench(host: Host) -> Bench:
    path = host.base / "models" / "checkpoints" / "tiny.safetensors"
    write_tiny_checkpoint(path)
    model, clip, vae, vision = host("comfy.sd").load_checkpoint_guess_config(str(path))
    assert vae is not None
    assert vision is None
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a red circle", "")]
    return Bench(host, model, *encoded, torch.zeros(1, 4, 8, 8))


def test_handles_are_of_the_kinds_that_packs_test_for(bench: Bench):
    host = bench.host
    assert isinstance(bench.model, host("comfy.model_patcher").ModelPatcher)
    assert isinstance(bench.model.model, host("comfy.model_base").BaseModel)
    assert not isinstance(bench.model, host("comfy.sd").VAE)
    network = bench.model.model.diffusion_model
    assert isinstance(network, host("comfy.ldm.modules.diffusionmodules.openaimodel").UNetModel)
    attention = host("comfy.ldm.modules.attention")
    assert any(isinstance(part, attention.CrossAttention) for part in network.modules())
    assert isinstance(attention.CrossAttention(8, heads=2, dim_head=4), attention.CrossAttention)


def test_sampling_by_names_is_what_the_node_does(bench: Bench):
    steps = []
    sampled = bench.pack(callback=lambda step, denoised, x, total: steps.append((step, total)))
    assert torch.equal(sampled, bench.weft())
    assert steps == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("name", ["euler", "euler_ancestral", "dpmpp_2m_sde", "euler_cfg_pp", "lms"])
def test_methods_in_k_diffusions_form_give_the_same(bench: Bench, name: str):
    samplers = bench.host("comfy.samplers")
    theirs = getattr(bench.host("comfy.k_diffusion.sampling"), f"sample_{name}")
    guider = samplers.CFGGuider(bench.model)
    assert torch.equal(bench.guided(guider, samplers.KSAMPLER(theirs)), bench.weft(name))


def test_a_guider_without_changes_gives_the_same(bench: Bench):
    samplers = bench.host("comfy.samplers")
    guided = bench.guided(samplers.CFGGuider(bench.model), samplers.sampler_object("dpmpp_2m"))
    assert torch.equal(guided, bench.weft("dpmpp_2m"))


def test_a_sampler_that_samples_by_itself(bench: Bench):
    samplers, sampling = bench.host("comfy.samplers"), bench.host("comfy.k_diffusion.sampling")

    class Own(samplers.Sampler):
        def sample(
            self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, **more
        ):  # fmt: skip
            return sampling.sample_euler(model_wrap, latent_image, sigmas, extra_args=extra_args)

    assert torch.equal(bench.guided(samplers.CFGGuider(bench.model), Own()), bench.weft())


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde"])
def test_a_method_wrapped_around_another_one(bench: Bench, name: str):
    samplers, levels = bench.host("comfy.samplers"), []

    def around(model, x, sigmas, *, inner, **options):
        class Watched:
            inner_model = model.inner_model

            def __call__(self, x, sigma, **extra):
                levels.append(float(sigma[0]))
                return model(x, sigma, **extra)

        return inner.sampler_function(Watched(), x, sigmas, **options, **inner.extra_options)

    inner = samplers.sampler_object(name)
    assert isinstance(inner, samplers.KSAMPLER)
    wrapped = samplers.KSAMPLER(around, extra_options={"inner": inner})
    assert torch.equal(bench.guided(samplers.CFGGuider(bench.model), wrapped), bench.weft(name))
    assert len(levels) == STEPS


def test_a_method_called_with_a_wrapped_model(bench: Bench):
    samplers = bench.host("comfy.samplers")

    class Through(samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, *more, **options):
            inner = samplers.sampler_object("euler")
            start = latent_image / (1 + sigmas[0] ** 2).sqrt()
            return inner.sample(model_wrap, sigmas, extra_args, callback, start, torch.zeros_like(start))

    sampled = bench.guided(samplers.CFGGuider(bench.model), Through())
    assert torch.allclose(sampled, bench.weft(), atol=1e-5)


def test_a_function_put_into_the_module_is_a_sampler_of_that_name(bench: Bench):
    sampling = bench.host("comfy.k_diffusion.sampling")
    theirs = sampling.sample_euler
    sampling.sample_own = lambda model, x, sigmas, **options: theirs(model, x, sigmas, **options)
    assert torch.equal(bench.weft("own"), bench.weft("euler"))


def test_a_handler_put_among_the_schedulers_is_one_of_that_name(bench: Bench):
    samplers = bench.host("comfy.samplers")
    handler = samplers.SchedulerHandler(bench.host("comfy.k_diffusion.sampling").get_sigmas_karras, use_ms=False)
    samplers.SCHEDULER_HANDLERS["own"] = handler
    samplers.SCHEDULER_NAMES.append("own")
    assert torch.allclose(bench.weft(scheduler="own"), bench.weft(scheduler="karras"), atol=1e-5)


def test_lists_assigned_to_the_class_are_those_that_nodes_offer(bench: Bench):
    from nodes.builtin.sampling import KSampler

    theirs = bench.host("comfy.samplers").KSampler
    theirs.SCHEDULERS = [*theirs.SCHEDULERS, "AYS"]
    theirs.SAMPLERS.append("own")
    inputs = KSampler.INPUT_TYPES()["required"]
    assert inputs["scheduler"][0][-1] == "AYS"
    assert inputs["sampler_name"][0][-1] == "own"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("comfy.samplers", "sampling_function"),
        ("comfy.samplers", "sample"),
        ("comfy.samplers", "calculate_sigmas"),
        ("comfy.sample", "sample"),
        ("comfy.sample", "prepare_noise"),
        ("latent_preview", "prepare_callback"),
    ],
)
def test_a_replaced_function_is_what_the_node_calls(bench: Bench, module: str, name: str):
    before, calls, host = bench.weft(), [], bench.host(module)
    original = getattr(host, name)

    def own(*given: object, **options: object) -> object:
        calls.append(name)
        return original(*given, **options)

    setattr(host, name, own)
    assert torch.equal(bench.weft(), before)
    assert calls
    assert getattr(host, name) is own
    setattr(host, name, original)
    assert seams.report() == []


def test_a_replaced_class_is_what_the_node_uses(bench: Bench):
    before, samplers, used = bench.weft(), bench.host("comfy.samplers"), []

    class Own(samplers.KSampler):
        def sample(self, *given: object, **options: object) -> Tensor:
            used.append(self.steps)
            return super().sample(*given, **options)

    samplers.KSampler = Own
    assert torch.equal(bench.weft(), before)
    assert used == [STEPS]


def test_a_replaced_loader_reads_checkpoints(bench: Bench):
    utils, read = bench.host("comfy.utils"), []
    original = utils.load_torch_file
    utils.load_torch_file = lambda path, *more, **options: (
        read.append(Path(path).name),
        original(path, *more, **options),
    )[1]
    bench.host("comfy.sd").load_checkpoint_guess_config(str(bench.host.base / "models/checkpoints/tiny.safetensors"))
    assert read == ["tiny.safetensors"]


def test_functions_around_a_whole_sampling_are_called(bench: Bench):
    before, seen, extension = bench.weft(), [], bench.host("comfy.patcher_extension")

    def around(executor, noise, latent_image, sampler, sigmas, *more):
        seen.append((type(executor.class_obj).__name__, len(sigmas)))
        return executor(noise, latent_image, sampler, sigmas, *more) + 1

    bench.model.add_wrapper_with_key(extension.WrappersMP.OUTER_SAMPLE, "pack", around)
    assert torch.equal(bench.weft(), before + 1)
    assert seen == [("Guider", STEPS + 1)]


def test_a_replaced_previewer_is_asked_at_each_sampling(bench: Bench):
    preview, asked = bench.host("latent_preview"), []
    original = preview.get_previewer
    preview.get_previewer = lambda device, latent_format: asked.append(device) or original(device, latent_format)
    bench.weft()
    assert asked == [torch.device("cpu")]


def test_weights_go_by_a_replaced_calculation(bench: Bench):
    lora, calls = bench.host("comfy.lora"), []
    original = lora.calculate_weight
    lora.calculate_weight = lambda patches, weight, key, *more: (
        calls.append(key) or original(patches, weight, key, *more)
    )
    changed = bench.model.clone()
    key = next(iter(changed.model_state_dict()))
    changed.add_patches({key: ("diff", (torch.ones_like(changed.model_state_dict()[key]),))})
    changed.load()
    assert [key.endswith(each) for each in calls] == [True]
    changed.detach()


def test_a_family_list_of_a_pack_is_matched(bench: Bench):
    module = bench.host("comfy.supported_models")
    module.models = [object()]
    with pytest.raises(Exception, match="looks like"):
        bench.host("comfy.sd").load_checkpoint_guess_config(
            str(bench.host.base / "models/checkpoints/tiny.safetensors")
        )


def test_lora_names_lead_to_weights(bench: Bench):
    lora = bench.host("comfy.lora")
    keys = lora.model_lora_keys_unet(bench.model.model, {})
    name, key = next((name, key) for name, key in keys.items() if name.startswith("lora_unet_"))
    weight = bench.model.model_state_dict()[key]
    rank = {
        f"{name}.lora_up.weight": torch.ones(weight.shape[0], 1),
        f"{name}.lora_down.weight": torch.ones(1, weight[0].numel()),
    }
    patches = lora.load_lora(rank, keys)
    assert list(patches) == [key]
    changed, _ = bench.host("comfy.sd").load_lora_for_models(bench.model, None, rank, 1.0, 0.0)
    assert list(changed.patches) == [key]


def test_lora_names_of_a_text_encoder_lead_to_weights(bench: Bench):
    path = bench.host.base / "models/checkpoints/tiny.safetensors"
    clip = bench.host("comfy.sd").load_checkpoint_guess_config(str(path))[1].clone()
    keys = bench.host("comfy.lora").model_lora_keys_clip(clip.cond_stage_model, {})
    key = keys["lora_te_text_model_encoder_layers_0_mlp_fc1"]
    assert clip.add_patches({key: ("diff", (torch.zeros(1),))}, 1.0) == [key]


def test_lora_names_of_t5_lead_to_its_weights(bench: Bench, tmp_path: Path):
    files = write_encoders(tmp_path)
    paths = [str(files["clip_l"]), str(files["t5xxl"])]
    comfy_sd = bench.host("comfy.sd")
    clip = comfy_sd.load_clip(paths, clip_type=comfy_sd.CLIPType.FLUX)
    keys = bench.host("comfy.lora").model_lora_keys_clip(clip.cond_stage_model, {})
    key = keys["lora_te3_encoder_block_1_layer_0_SelfAttention_q"]
    assert key == "t5xxl.transformer.encoder.block.1.layer.0.SelfAttention.q.weight"
    assert clip.add_patches({key: ("diff", (torch.zeros(1),))}, 1.0) == [key]
    assert keys["lora_te1_text_model_encoder_layers_0_mlp_fc1"].startswith("clip_l.transformer.")
