"""MODEL, CLIP, ControlNets and hooks used in any order leave every weight bit for bit as in the file."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from safetensors.torch import load_file, save_file

from executor.errors import Interrupted, OutOfMemory
from executor.inference.checkpoint import load_checkpoint
from executor.inference.conditioning_hooks import (
    EnumHookMode,
    HookGroup,
    create_hook_lora,
    create_hook_model_as_lora,
)
from executor.inference.controlnet import load_controlnet
from executor.inference.hook_conditioning import set_hooks_for_conditioning
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory, get_weight
from executor.inference.sample import sample
from executor.inference.weights import WeightFile
from nodes.builtin.hooks import SetClipHooks
from tests.maths.test_controlnet import lora_and_whole
from tests.tiny_checkpoint import TinySizes, tiny_tensors

SIZES = TinySizes(widths=(16, 24), attends=(True, False), text_layers=1, vae_widths=(4, 4))
MODES = ("cpu", "low")
DTYPES = (torch.float16, torch.float32)  # in float32 the CPU's placed weights are the mapped ones themselves
STRENGTHS = st.sampled_from([-1.0, 0.3, 1.0])
NUMBERS = st.integers(0, 2)
LATENT = (1, 4, 4, 4)


@pytest.fixture(scope="module", autouse=True)
def folder():
    """The files that every run of the machine opens."""
    here = Path(tempfile.mkdtemp())
    for dtype in DTYPES:
        save_file(tiny_tensors(SIZES, dtype=dtype), here / f"{dtype}.safetensors")
    unet = load_checkpoint(here / f"{torch.float16}.safetensors", Memory(mode="cpu")).model.model.part.weights
    for name, tensors in zip(("lora", "whole"), lora_and_whole(unet), strict=True):
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, here / f"{name}.safetensors")
    AnyOrder.folder = here
    yield here
    shutil.rmtree(here)


def lora(number):
    """A LoRA on weights and biases of the network and on the text model."""
    generator = torch.Generator().manual_seed(number)
    unet = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_" + "qkv"[number]
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    found = {
        "lora_unet_out_2.diff": torch.randn(4, 16, 3, 3, generator=generator),
        "lora_unet_out_2.diff_b": torch.ones(4),
    }
    for name, width in ((unet, 16), (text, 32)):
        found[f"{name}.lora_up.weight"] = torch.randn(width, 2, generator=generator)
        found[f"{name}.lora_down.weight"] = torch.randn(2, width, generator=generator)
    return found


class AnyOrder(RuleBasedStateMachine):
    """One worker's models, used as prompts use them."""

    folder: Path

    @initialize(mode=st.sampled_from(MODES), dtype=st.sampled_from(DTYPES))
    def open(self, mode, dtype):
        self.memory = Memory(mode=mode)
        path = self.folder / f"{dtype}.safetensors"
        opened, self.file = load_checkpoint(path, self.memory), load_file(path)
        self.model, self.clip = opened.model, opened.clip
        self.models, self.clips = [opened.model] * 3, [opened.clip] * 3
        self.controls = [
            load_controlnet(self.folder / f"{name}.safetensors", self.memory) for name in ("lora", "whole")
        ]
        self.parts = {
            "model.diffusion_model.": opened.model.model.part,
            "cond_stage_model.transformer.text_model.": opened.clip.part,
        }
        self.mapped = {id(part): {key: w.clone() for key, w in part.weights.items()} for part in self.every_part()}
        self.hooks = [create_hook_lora(lora(number), 1.0, 1.0) for number in range(3)]

    def every_part(self):
        return [*self.parts.values(), self.controls[1].part]

    # ---------------------------------------------------------------- patching

    @rule(place=NUMBERS, number=NUMBERS, strength=STRENGTHS)
    def load_a_lora(self, place, number, strength):
        file = WeightFile(path=Path("style.safetensors"), tensors=lora(number))
        given = self.models[place], self.clips[place]
        self.models[place], self.clips[place] = apply_lora(file, *given, strength, strength)

    @rule(place=NUMBERS, other=NUMBERS)
    def merge(self, place, other):
        merged = self.models[place].clone()
        merged.add_patches(self.models[other].get_key_patches("diffusion_model."), 0.25, 0.75)
        self.models[place] = merged
        merged.load(torch.Size(LATENT))

    @rule(place=NUMBERS)
    def begin_again(self, place):
        self.models[place], self.clips[place] = self.model, self.clip

    @rule(number=NUMBERS, strength=STRENGTHS)
    def give_keyframes(self, number, strength):
        keyframes = HookKeyframeGroup()
        for share in (0.0, 0.5):
            keyframes.add(HookKeyframe(strength * share, share, 0))
        self.hooks[number] = self.hooks[number].clone()
        self.hooks[number].set_keyframes_on_hooks(keyframes)

    @rule(number=NUMBERS, other=NUMBERS)
    def combine_hooks(self, number, other):
        self.hooks[number] = HookGroup.combine_all_hooks([self.hooks[number], self.hooks[other]])

    @rule(number=NUMBERS)
    def take_a_model_as_hook(self, number):
        other = {name: weight * 0.5 for name, weight in self.model.named_weights().items()}
        self.hooks[number] = create_hook_model_as_lora(other, {}, 0.7, 0.0)

    # ---------------------------------------------------------------- loading

    @rule(place=NUMBERS)
    def load_a_model(self, place):
        self.models[place].load(torch.Size(LATENT))
        self.check(self.models[place].model.part, self.models[place].patch_set())

    @rule(place=NUMBERS)
    def load_a_clip(self, place):
        clip = self.clips[place].load_model()
        self.check(clip.part, clip.patch_set(clip.encoders[0]))

    @rule()
    def unload_all(self):
        self.memory.unload_all()

    @rule()
    def make_room(self):
        self.memory.evict(1 << 60)

    @rule(place=NUMBERS)
    def unpatch(self, place):
        self.models[place].unpatch_model()
        self.check(self.models[place].model.part, None)

    @rule(place=NUMBERS)
    def detach(self, place):
        self.models[place].detach()

    # ---------------------------------------------------------------- using

    @rule(place=NUMBERS, number=st.none() | NUMBERS, schedule=st.booleans())
    def read_a_text(self, place, number, schedule):
        hooks = None if number is None else self.hooks[number]
        [clip] = SetClipHooks().apply_hooks(self.clips[place], schedule, apply_to_conds=True, hooks=hooks)
        clip.encode("a red cube")

    @rule(
        place=NUMBERS,
        sides=st.tuples(st.none() | NUMBERS, st.none() | NUMBERS),
        control=st.none() | st.integers(0, 1),
        mode=st.sampled_from(EnumHookMode),
        ends=st.sampled_from([None, Interrupted("stopped"), ValueError("broken"), MemoryError("full")]),
    )
    def draw(self, place, sides, control, mode, ends):
        model = self.models[place].clone()
        model.set_hook_mode(mode)
        conditions = []
        for number, value in zip(sides, (0.5, -0.5), strict=True):
            options = (
                {}
                if control is None
                else {"control": self.controls[control].copy().set_cond_hint(torch.ones(1, 3, 32, 32))}
            )
            hooks = None if number is None else self.hooks[number]
            conditions.append(set_hooks_for_conditioning([[torch.full((1, 4, 32), value), options]], hooks))

        def stop(given):
            raise ends

        if ends is not None:
            model.set_model_sampler_post_cfg_function(stop)
        values = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
        try:
            sample(model, {"samples": torch.zeros(LATENT)}, positive=conditions[0], negative=conditions[1], **values)
        except (Interrupted, ValueError, OutOfMemory):
            assert ends is not None
        left = isinstance(ends, MemoryError)  # then every model has left
        self.check(model.model.part, None if left else self.models[place].patch_set())

    # ---------------------------------------------------------------- what holds

    def check(self, part, patches):
        """The module's weights are those of the file under these patches, as placed."""
        for key, pristine in self.mapped[id(part)].items():
            placed = pristine.to(part.placement.dtype or pristine.dtype) if part.placement else pristine
            wanted = patches.applied(key, placed) if patches and key in patches.by_key else placed
            assert torch.equal(get_weight(part.module, key), wanted), key

    @invariant()
    def pristine_weights_are_as_in_the_file(self):
        for part in self.every_part():
            for key, weight in part.weights.items():
                assert torch.equal(weight, self.mapped[id(part)][key]), key

    def teardown(self):
        if not hasattr(self, "memory"):
            return
        self.model.load()
        self.clip.load_model()
        self.check(self.model.model.part, None)
        self.check(self.clip.part, None)
        self.memory.unload_all()
        for prefix, part in self.parts.items():
            for key, original in part.keys.items():
                assert torch.equal(get_weight(part.module, original), self.file_weight(prefix, key, original)), key

    def file_weight(self, prefix, name, key):
        return self.file[name] if name in self.file else self.file[prefix + key]


AnyOrder.TestCase.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase


def test_patching_a_file_of_float32_does_not_write_into_it(folder):
    opened = load_checkpoint(folder / f"{torch.float32}.safetensors", Memory(mode="cpu"))
    pristine = {key: weight.clone() for key, weight in opened.model.model.part.weights.items()}
    merged = opened.model.clone()
    merged.add_patches(opened.model.get_key_patches("diffusion_model."), 0.25, 0.75)
    merged.load(torch.Size(LATENT))
    for key, weight in opened.model.model.part.weights.items():
        assert torch.equal(weight, pristine[key]), key
