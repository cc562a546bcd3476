"""Nodes that change how a network is called: compiled, or with smaller features inside; texts for ControlNets."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from executor.errors import NodeInputError
from executor.inference import compiling
from executor.inference.checkpoint import load_checkpoint
from executor.inference.conditions import resolve
from executor.inference.guidance import answer as guided_answer
from executor.inference.memory import Memory
from executor.inference.pixels import common_upscale
from nodes.builtin.encoder_options import CLIPTextEncodeControlnet, T5TokenizerOptions
from nodes.builtin.model_downscale import PatchModelAddDownscale
from nodes.builtin.torch_compile import TorchCompileModel
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

SIZES = TinySizes(vocabulary=9, widths=(8, 16), attends=(True, True), text_layers=1, vae_widths=(4, 4))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of few weights."""
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("small") / "small.safetensors", SIZES)
    return load_checkpoint(path, Memory(mode="cpu")).model


def answer(handle, sigma=2.0, side=16):
    generator = torch.Generator().manual_seed(2)
    x, context = torch.randn(1, 4, side, side, generator=generator), torch.randn(1, 7, 32, generator=generator)
    handle.load()
    level = torch.tensor([sigma])
    options = {**handle.model_options["transformer_options"], "sigmas": level, "wrappers": handle.wrappers}
    with torch.no_grad():
        return handle.model.apply(x, level, context=context, transformer_options=options)


# ---------------------------------------------------------------- Deep Shrink


def shrunk(model, after_skip=True, block=1, factor=2.0, end=0.35):
    return PatchModelAddDownscale().patch(model, block, factor, 0.0, end, after_skip, "area", "nearest-exact")[0]


@pytest.mark.parametrize("after_skip", [True, False])
def test_features_are_shrunk_behind_the_block_and_grow_at_the_skips(model, after_skip):
    seen, skips = [], []
    changed = shrunk(model, after_skip)
    changed.set_model_input_block_patch_after_skip(lambda x, options: (seen.append(x.shape[-1]), x)[1])
    changed.set_model_output_block_patch(lambda x, skip, options: (skips.append(skip.shape[-1]), (x, skip))[1])
    assert answer(changed, sigma=14.0).shape == (1, 4, 16, 16)
    assert seen == [16, 8, 4, 4]
    assert skips == [4, 4, 16 if after_skip else 8, 16]


def test_after_the_share_of_the_sampling_nothing_changes(model):
    changed = shrunk(model)
    torch.testing.assert_close(answer(changed, 0.5), answer(model, 0.5), rtol=0, atol=0)
    assert not torch.allclose(answer(changed, 14.0), answer(model, 14.0))


def test_the_method_of_the_node_is_used(model):
    patch = shrunk(model).model_options["transformer_options"]["patches"]["input_block_patch_after_skip"][0]
    x = torch.randn(1, 3, 6, 9)
    options = {"block": ("input", 1), "sigmas": torch.tensor([14.0])}
    torch.testing.assert_close(patch(x, options), common_upscale(x, 4, 3, "area", "disabled"))


# ---------------------------------------------------------------- torch.compile


class Told:
    """Stands for torch.compile."""

    def __init__(self):
        self.calls = []

    def __call__(self, network, backend):
        def run(*args, **kwargs):
            self.calls.append(backend)
            return network(*args, **kwargs)

        return run


def test_the_compiled_network_is_called_and_the_model_stays_as_it_is(model, monkeypatch):
    told = Told()
    monkeypatch.setattr(torch, "compile", told)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    [changed] = TorchCompileModel().patch(model, "inductor")
    torch.testing.assert_close(answer(changed), answer(model), rtol=0, atol=0)
    assert told.calls == ["inductor"]


@pytest.mark.parametrize("own", [None, "/elsewhere"])
def test_what_was_compiled_is_kept_unless_the_user_says_where(own, monkeypatch, tmp_path):
    monkeypatch.setenv(compiling.CACHE, own or "")
    if own is None:
        monkeypatch.delenv(compiling.CACHE)
    monkeypatch.setattr(torch, "compile", lambda network, backend: network)
    compiling.Compiled("inductor", tmp_path).compiled(torch.nn.Identity())
    assert os.environ[compiling.CACHE] == (own or str(tmp_path))


def test_the_folder_that_torch_chose_by_itself_is_no_choice_of_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv(compiling.CACHE, default_cache_dir())
    compiling.keep_in(tmp_path)
    assert os.environ[compiling.CACHE] == str(tmp_path)


def test_without_a_compiler_the_node_says_what_is_missing(model, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NodeInputError, match=r"needs a C\+\+ compiler, and none was found .*apt install"):
        TorchCompileModel().patch(model, "inductor")


def test_cudagraphs_need_a_gpu(model):
    with pytest.raises(NodeInputError, match="'cudagraphs' needs an NVIDIA GPU"):
        compiling.check_backend("cudagraphs", torch.device("cpu"))


def test_what_the_compiler_says_is_told(model, monkeypatch):
    failure = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

    def compile(network, backend):
        def run(*args, **kwargs):
            raise failure("CppCompileError: no header\nmore")

        return run

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    [changed] = TorchCompileModel().patch(model, "inductor")
    with pytest.raises(NodeInputError, match=r"cannot be compiled with 'inductor': CppCompileError: no header$"):
        answer(changed)


@pytest.mark.full
@pytest.mark.skipif(not any(map(shutil.which, compiling.COMPILERS)), reason="no C++ compiler here")
@pytest.mark.filterwarnings("ignore")
def test_a_really_compiled_network_answers_the_same(model):
    [changed] = TorchCompileModel().patch(model, "inductor")
    torch.testing.assert_close(answer(changed), answer(model), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- texts and tokenizers


class ToldClip:
    def __init__(self):
        self.options = {}

    def clone(self):
        return ToldClip()

    def encode(self, text):
        return [[torch.full((1, 2, 4), 7.0), {"pooled_output": text}]]

    def set_tokenizer_option(self, name, value):
        self.options[name] = value


def test_a_controlnets_own_text_goes_with_every_entry():
    given = [[torch.zeros(1, 2, 4), {"kept": 1}], [torch.zeros(1, 2, 4), {}]]
    [changed] = CLIPTextEncodeControlnet().encode(ToldClip(), given, "a hill")
    for (embedding, options), (before, kept) in zip(changed, given, strict=True):
        assert embedding is before
        assert options["pooled_output_controlnet"] == "a hill"
        assert torch.equal(options["cross_attn_controlnet"], torch.full((1, 2, 4), 7.0))
        assert kept.items() <= options.items()


class Following:
    """Stands for a control; tells which text it was given."""

    def get_control(self, x, t, cond, batched_number, transformer_options):
        self.text = cond.get("crossattn_controlnet")


class Zero:
    def apply(self, x, sigma, **conditions):
        return torch.zeros_like(x)


def test_a_control_reads_its_own_text_and_others_the_models(model):
    control = Following()
    own = {"cross_attn_controlnet": torch.full((1, 2, 4), 7.0), "control": control}
    entries = [[torch.zeros(1, 2, 4), own], [torch.ones(1, 2, 4), {"control": control}]]
    conditions = resolve(entries, torch.Size((1, 4, 8, 8)), model.model_sampling)
    guided_answer(Zero(), [[each] for each in conditions], torch.zeros(1, 4, 8, 8), 1.0, {})
    assert control.text[:, 0, 0].tolist() == [7.0, 1.0]


def test_t5_options_are_set_for_every_kind():
    [changed] = T5TokenizerOptions().set_options(ToldClip(), 3, 5)
    assert changed.options["t5xxl_min_padding"] == 3
    assert changed.options["umt5xxl_min_length"] == 5
    assert len(changed.options) == 10
