"""No step of a sampling waits for the device, told on the `meta` device, whose tensors nobody can read.

There a value that is read raises by itself; `unread` refuses the copies that would make the host wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from executor.context import RunContext, entered
from executor.inference.checkpoint import Checkpoint
from executor.inference.crossing import levels_like, number_of, sent, with_number
from executor.inference.denoiser import ModelSampling, discrete_eps, flow
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.freeu import FreeUV2
from executor.inference.handle import ModelHandle
from executor.inference.sample import StepCallback, prepare_callback
from executor.inference.samplers import SAMPLERS, Guided, Sampler
from executor.inference.schedules import ksampler_sigmas
from executor.inference.token_reduction import TokenMerging

META = torch.device("meta")
ADAPTIVE = {"dpm_adaptive"}  # its step width is a number of the device's
STEPS = 2


class Finished(Exception):
    """The last step is done."""


class Waits(Exception):
    """The host would wait."""


class NoWaitingCopies(TorchDispatchMode):
    """Refuses copies to the device that the host waits for."""

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = func.overloadpacket.__name__
        if name == "_to_copy" and args[0].device != META and given.get("device") == META:
            refuse_unless(bool(given.get("non_blocking")), name)
        if name == "copy_" and args[0].device == META and args[1].device != META and args[1].ndim:
            refuse_unless(len(args) > 2 and bool(args[2]), name)
        return func(*args, **given)


class NoNumbersThere(TorchFunctionMode):
    """Refuses tensors that are made on the device of numbers on the host."""

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor):
            refuse_unless(torch.device(given.get("device") or "cpu") != META, "torch.tensor")
        if func is Tensor.__getitem__ and args[0].device == META:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            refuse_unless(not any(isinstance(place, list) for place in places), "a list of places")
        return func(*args, **given)


def refuse_unless(fits: bool, name: str) -> None:
    if not fits:
        raise Waits(name)


@contextmanager
def unread() -> Iterator[None]:
    """Nothing may be read from the device, and nothing brought there that the host waits for."""
    with NoWaitingCopies(), NoNumbersThere():
        yield


def watched(method: Sampler) -> Sampler:
    """The method, whose steps may not wait, and which ends the sampling behind its last one."""

    def run(*args: Any, **kwargs: Any) -> Tensor:
        with unread():
            method.function(*args, **kwargs)
        raise Finished

    return replace(method, function=run)


class HostGenerator(torch.Generator):
    """One on the host, whatever is asked for."""

    def __new__(cls, device: object = None) -> HostGenerator:
        return super().__new__(cls, "cpu")


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator for the device, which has none of its own."""
    monkeypatch.setattr(torch, "Generator", HostGenerator)


@pytest.fixture
def unseen(tiny: Checkpoint, generator: None) -> ModelHandle:
    """The small model on the device whose tensors nobody can read."""
    tiny.model.memory.device = META
    return tiny.model


def drawn(model: ModelHandle, method: Sampler, on_step: StepCallback | None = None, **latent: Tensor) -> None:
    text = torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
    guidance = Guidance(positive=[[text, {}]], negative=[[-text, {"mask": torch.ones(1, 8, 8)}]], cfg=3.0)
    given: Any = {"samples": torch.ones(2, 4, 8, 8), **latent}
    sigmas = ksampler_sigmas(model.model_sampling, "karras", method.name, STEPS)
    callback = on_step or (lambda index, denoised, x, total: None)

    def told(index: int, x: Tensor, denoised: Tensor) -> None:
        callback(index, denoised, x, STEPS)

    sample_sigmas(
        model, given, torch.ones(2, 4, 8, 8), sigmas, watched(method), guidance, seed=1, on_step=told
    )  # fmt: skip


@dataclass(frozen=True)
class Halving:
    """A model that answers with half of what it sees."""

    sampling: ModelSampling

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return x * 0.5

    def both(self, x: Tensor, sigma: float) -> Guided:
        return Guided(x * 0.5, x * 0.25)


@pytest.mark.parametrize("sampling", [discrete_eps, flow])
@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - ADAPTIVE))
def test_no_step_of_a_sampler_waits(generator: None, name: str, sampling: Callable[[], ModelSampling]):
    model, method = Halving(sampling()), watched(SAMPLERS[name])
    levels = [model.sampling.sigma_max, 0.7, 0.5, 0.3, 0.0]
    with pytest.raises(Finished):
        method.run(model, torch.empty(2, 4, 8, 8, device=META), levels, seed=1)


def test_an_adaptive_sampler_is_caught_reading(unseen: ModelHandle):
    with pytest.raises(RuntimeError, match="cannot be called on meta"):
        drawn(unseen, SAMPLERS["dpm_adaptive"])


def test_a_copy_that_waits_is_caught():
    with pytest.raises(Waits), unread():
        torch.ones(2).to(META)
    with pytest.raises(Waits), unread():
        torch.tensor([1.0, 2.0], device=META)
    with pytest.raises(Waits), unread():
        torch.empty(3, 3, device=META)[[0, 2]]


@pytest.mark.parametrize("name", ["euler", "ddim", "euler_cfg_pp"])
def test_a_mask_makes_no_step_wait(unseen: ModelHandle, name: str):
    with pytest.raises(Finished):
        drawn(unseen, SAMPLERS[name], noise_mask=torch.ones(1, 64, 64))


def test_progress_makes_no_step_wait(unseen: ModelHandle):
    with pytest.raises(Finished), entered(RunContext()):
        drawn(unseen, SAMPLERS["euler"], prepare_callback(unseen, STEPS))


def freed(model: ModelHandle) -> None:
    model.set_model_output_block_patch(FreeUV2(16, (1.1, 1.2), (0.9, 0.2)))


def merged(model: ModelHandle) -> None:
    merging = TokenMerging(0.5)
    model.set_model_attn1_patch(merging.merge)
    model.set_model_attn1_output_patch(merging.unmerge)


def by_shades(model: ModelHandle) -> None:
    from executor.inference.inpainting import mask_of_level

    model.set_model_denoise_mask_function(lambda sigma, mask, extra: mask_of_level(0.5, sigma, mask, extra))


@pytest.mark.parametrize("change", [freed, merged, by_shades])
def test_changes_of_a_model_make_no_step_wait(unseen: ModelHandle, change: Callable[[ModelHandle], None]):
    model = unseen.clone()
    change(model)
    with pytest.raises(Finished):
        drawn(model, SAMPLERS["euler"], noise_mask=torch.ones(1, 64, 64))


def test_noise_levels_know_their_number():
    levels = levels_like(torch.ones(3, 4), 0.1)
    assert levels.tolist() == pytest.approx([0.1] * 3)
    assert number_of(levels) == levels[0].item()
    assert number_of(with_number(levels[:1], levels)) == levels[0].item()


def test_the_number_of_other_levels_is_read():
    assert number_of(torch.tensor([2.5, 2.5])) == 2.5


def test_what_is_there_already_is_not_sent():
    x = torch.ones(2)
    assert sent(x, "cpu") is x
    assert sent(x, "cpu", torch.float16).dtype == torch.float16
