"""Texts read under hooks: at the strengths of the start, or once for each span."""

import pytest
import torch

from executor.inference.checkpoint import load_checkpoint
from executor.inference.conditioning_hooks import create_hook_lora, create_hook_model_as_lora
from executor.inference.conditions import resolve
from executor.inference.denoiser import discrete_eps
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory, get_weight
from executor.inference.text.hooked import spans
from executor.inference.weights import WeightFile
from nodes.builtin.hooks import SetClipHooks
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

LAYER = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
GENERATOR = torch.Generator().manual_seed(0)
LORA = {
    f"{LAYER}.lora_{side}.weight": torch.randn(*shape, generator=GENERATOR)
    for side, shape in (("up", (16, 2)), ("down", (2, 16)))
}
SAMPLING = discrete_eps()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A small text model."""
    sizes = TinySizes(widths=(8,), attends=(True,), context=16, text_layers=1, vae_widths=(4, 4))
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("small") / "small.safetensors", sizes)
    return load_checkpoint(path, Memory(mode="cpu")).clip


def hooks(*keyframes, strength=1.0):
    group, made = create_hook_lora(LORA, 0.0, strength), HookKeyframeGroup()
    for keyframe in keyframes:
        made.add(HookKeyframe(*keyframe))
    group.set_keyframes_on_hooks(made)
    return group


def under(clip, group, *, conds=True, schedule=False):
    return SetClipHooks().apply_hooks(clip, apply_to_conds=conds, schedule_clip=schedule, hooks=group)[0]


def loaded(clip, strength):
    return apply_lora(WeightFile(path="style.safetensors", tensors=LORA), None, clip, 0.0, strength)[1]


def test_a_text_is_read_as_with_the_loaded_lora(clip):
    group = hooks(strength=0.6)
    [[hidden, options]] = under(clip, group).encode("a red cube")
    [[wanted, _]] = loaded(clip, 0.6).encode("a red cube")
    assert torch.equal(hidden, wanted)
    assert not torch.allclose(hidden, clip.encode("a red cube")[0][0])
    assert options["hooks"] is group


def test_hooks_go_on_only_where_they_are_wanted(clip):
    assert "hooks" not in under(clip, hooks(), conds=False).encode("x")[0][1]
    assert under(clip, None) is clip


def test_without_a_schedule_the_strengths_of_the_start_hold(clip):
    [[hidden, options]] = under(clip, hooks((0.4, 0.0), (1.0, 0.5))).encode("a")
    assert torch.equal(hidden, loaded(clip, 0.4).encode("a")[0][0])
    assert "clip_start_percent" not in options


def test_a_schedule_reads_once_for_each_span(clip):
    entries = under(clip, hooks((0.4, 0.0), (1.0, 0.25), (0.4, 0.75)), schedule=True).encode("a")
    found = [(options["clip_start_percent"], options["clip_end_percent"]) for _, options in entries]
    assert found == [(0.0, 0.25), (0.25, 0.75), (0.75, 1.0)]
    for (hidden, _), strength in zip(entries, (0.4, 1.0, 0.4), strict=True):
        assert torch.equal(hidden, loaded(clip, strength).encode("a")[0][0])


def test_spans_of_equal_strengths_are_one():
    assert spans(hooks((1.0, 0.0), (1.0, 0.3), (0.5, 0.6))) == [(0.0, 0.6, (1.0,)), (0.6, 1.0, (0.5,))]
    assert spans(hooks()) == [(0.0, 1.0, (1.0,))]


def test_each_level_belongs_to_one_span(clip):
    entries = under(clip, hooks((0.4, 0.0), (1.0, 0.25), (0.2, 0.75)), schedule=True).encode("a")
    conditions = resolve(entries, torch.Size((1, 4, 8, 8)), SAMPLING)
    for percent in (0.0, 0.1, 0.25, 0.5, 0.75, 0.99):
        sigma = float(torch.tensor(min(SAMPLING.percent_to_sigma(percent), 14.6), dtype=torch.float32))
        assert sum(each.active(sigma) for each in conditions) == 1, percent


def test_a_range_set_on_a_schedule_narrows_it(clip):
    [first, second] = under(clip, hooks((0.4, 0.0), (1.0, 0.5)), schedule=True).encode("a")
    second[1] |= {"start_percent": 0.0, "end_percent": 0.7}
    condition = resolve([first, second], torch.Size((1, 4, 8, 8)), SAMPLING)[1]
    active = {percent: condition.active(SAMPLING.percent_to_sigma(percent)) for percent in (0.4, 0.6, 0.8)}
    assert active == {0.4: False, 0.6: True, 0.8: False}


def test_a_model_as_lora_reads_as_that_model(clip):
    other = {name: weight * 1.5 for name, weight in clip.named_weights().items()}
    hidden = under(clip, create_hook_model_as_lora({}, other, 0.0, 1.0)).encode("a")[0][0]
    assert not torch.allclose(hidden, clip.encode("a")[0][0])


def test_raw_embeddings_and_dictionaries_are_read_under_hooks_too(clip):
    hooked = under(clip, hooks())
    tokens = hooked.tokenize("a")
    wanted = loaded(clip, 1.0).encode("a")[0][0]
    assert torch.equal(hooked.encode_from_tokens(tokens), wanted)
    assert torch.equal(hooked.encode_from_tokens(tokens, return_dict=True)["cond"], wanted)
    assert hooked.encode_from_tokens_scheduled(tokens, add_dict={"width": 8})[0][1]["width"] == 8


def test_weights_are_as_in_the_file_afterwards(clip):
    under(clip, hooks((0.4, 0.0), (1.0, 0.5)), schedule=True).encode("a")
    clip.load_model()
    for key, weight in clip.part.weights.items():
        assert torch.equal(get_weight(clip.part.module, key), weight), key


def test_reading_again_makes_no_weight_anew(clip, monkeypatch):
    hooked = under(clip, hooks())
    hooked.encode("a")
    monkeypatch.setattr(type(clip.part), "changed", lambda self, key, patches: pytest.fail(key))
    hooked.encode("b")
