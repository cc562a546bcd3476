"""Windows over long latents: every place is seen, shares come to one, and conditions are cut with the latents."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.conditioning_hooks import create_hook_lora
from executor.inference.conditions import Condition
from executor.inference.context_windows import (
    HANDLER,
    ContextWindows,
    fused,
    latent_frames,
    of_window,
    radical_inverse,
    step_of,
    uniform,
)
from executor.inference.control import Control, Window
from executor.inference.controlnet import AdapterControl
from executor.inference.denoising import evaluated_shape
from executor.inference.guidance import calc_cond_batch
from executor.inference.hook_conditioning import set_hooks_for_conditioning
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.t2i_adapter import SD1_PLACEMENT
from nodes.builtin.context_windows import FUSE_METHODS, SCHEDULES, ContextWindowsManual, WanContextWindowsManual
from tests.maths.recordings import ToyHandle, sampling, toy_handle
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

SIGMAS = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.0])


class Pointwise:
    """A network that answers each cell by itself, with what it was given for the row."""

    sampling = sampling("eps_sd15")
    extras, text_width, repeats_text = (), None, True

    def __init__(self):
        self.calls = []

    def apply(self, x, sigma, *, context, transformer_options=None, **conditions):
        self.calls.append((x.shape, transformer_options, conditions))
        bias = context.mean(dim=(1, 2)).reshape(-1, *(1 for _ in x.shape[1:]))
        answer = torch.tanh(x) + bias
        for name in ("c_concat", "control"):
            if conditions.get(name) is not None:
                answer = answer + conditions[name]
        return answer


def answered(windows, x, condition, sigma=5.0, model=None):
    """The answer of one side in windows, and in one piece."""
    model, levels = model or Pointwise(), x.new_full((len(x),), sigma)
    options = {"transformer_options": {"sample_sigmas": SIGMAS}}
    [cut] = calc_cond_batch(model, [[condition]], x, levels, {**options, HANDLER: windows})
    [whole] = calc_cond_batch(Pointwise(), [[condition]], x, levels, options)
    return cut, whole


def text(rows=1):
    return torch.randn(rows, 3, 4, generator=torch.Generator().manual_seed(rows))


LATENTS = torch.randn(11, 4, 3, 5, generator=torch.Generator().manual_seed(0))
anything = st.builds(
    ContextWindows,
    length=st.integers(1, 12),
    overlap=st.integers(0, 14),
    schedule=st.sampled_from(SCHEDULES),
    stride=st.integers(1, 4),
    closed_loop=st.booleans(),
    fuse_method=st.sampled_from(FUSE_METHODS),
)


@given(windows=anything, count=st.integers(1, 40), step=st.integers(0, 30))
def test_every_place_is_seen_and_its_shares_come_to_one(windows, count, step):
    found = windows.windows(count, step)
    shares = fused(found, [windows.weights(window, count) for window in found], count)
    totals = torch.zeros(count, dtype=torch.float64)
    for window, share in zip(found, shares, strict=True):
        assert len(set(window)) == len(window) <= min(windows.length, count)
        assert all(0 <= place < count for place in window)
        assert bool((share > 0).all())
        totals.index_add_(0, torch.tensor(window), share)
    torch.testing.assert_close(totals, torch.ones(count, dtype=torch.float64), rtol=0, atol=1e-12)


@given(windows=anything, sigma=st.sampled_from([10.0, 5.0, 2.0]))
def test_a_pointwise_network_answers_the_same_in_any_windows(windows, sigma):
    cut, whole = answered(windows, LATENTS, Condition(context=text(11)), sigma)
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)


def test_one_window_for_all_is_plain_sampling():
    def drawn(options):
        handle = toy_handle("eps_sd15")
        handle = ToyHandle(model=handle.model, model_options=options)
        values = {"seed": 1, "steps": 4, "cfg": 3.0, "sampler_name": "euler_ancestral", "scheduler": "normal"}
        latent = {"samples": torch.zeros(6, 4, 8, 8)}
        return sample(handle, latent, positive=[[text(), {}]], negative=[[-text(), {}]], **values)

    assert torch.equal(drawn({HANDLER: ContextWindows(length=6)}), drawn({}))
    windowed = drawn({HANDLER: ContextWindows(length=3, overlap=1)})  # the toy network rolls within a row only
    torch.testing.assert_close(windowed, drawn({}), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- schedules


def test_static_windows_end_flush():
    windows = ContextWindows(length=4, overlap=1)
    assert windows.windows(9) == [[0, 1, 2, 3], [3, 4, 5, 6], [5, 6, 7, 8]]
    assert windows.windows(9, 3) == windows.windows(9, 0)
    assert windows.windows(4) == [[0, 1, 2, 3]]


def test_batched_windows_do_not_overlap():
    assert ContextWindows(length=4, schedule="batched").windows(9) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_looped_windows_go_over_the_end_and_move_with_the_step():
    windows = ContextWindows(length=4, overlap=1, schedule="looped_uniform")
    assert windows.windows(8, 0) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 0, 1]]
    assert windows.windows(8, 1)[0] == [4, 5, 6, 7]
    assert windows.windows(8, 2)[0] == [2, 3, 4, 5]


def test_a_closed_loop_has_the_seam_within_a_window():
    def covered(closed):
        windows = ContextWindows(length=4, overlap=1, schedule="looped_uniform", closed_loop=closed).windows(7, 0)
        return any(7 - 1 in window and 0 in window for window in windows)

    assert covered(True)
    assert not covered(False)


def test_standard_windows_never_go_over_the_end():
    windows = ContextWindows(length=4, overlap=1, schedule="standard_uniform", stride=2)
    for step in range(8):
        assert all(window == sorted(window) for window in windows.windows(11, step)), step
    assert windows.windows(11, 1) != [8, 9, 10]


def test_a_stride_adds_windows_that_skip_frames():
    found = list(uniform(16, 4, 0, 2, 0, closed=True))
    assert found[:4] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    assert found[4:] == [[0, 2, 4, 6], [8, 10, 12, 14]]


def test_places_of_steps_fill_the_circle():
    assert [radical_inverse(step) for step in range(6)] == [0, 0.5, 0.25, 0.75, 0.125, 0.625]


def test_the_step_is_that_of_the_nearest_level():
    options = {"sample_sigmas": SIGMAS}
    assert [step_of(torch.tensor([sigma]), options) for sigma in (10.0, 4.9, 0.1)] == [0, 1, 4]
    assert step_of(torch.tensor([3.0]), {}) == 0


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("method", "window", "wanted"),
    [
        ("flat", range(4), [1, 1, 1, 1]),
        ("pyramid", range(5), [1, 2, 3, 2, 1]),
        ("pyramid", range(4), [1, 2, 2, 1]),
        ("relative", range(4), [0.25, 0.75, 0.75, 0.25]),
        ("overlap-linear", range(0, 5), [1, 1, 1, 2 / 3, 1 / 3]),
        ("overlap-linear", range(3, 8), [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        ("overlap-linear", range(5, 10), [1 / 3, 2 / 3, 1, 1, 1]),
    ],
)
def test_weights_of_a_window(method, window, wanted):
    windows = ContextWindows(length=5, overlap=2, fuse_method=method)
    assert windows.weights(list(window), 10) == pytest.approx(wanted)


def test_a_place_of_two_windows_is_their_weighted_mean():
    class Numbered(Pointwise):
        def apply(self, x, sigma, **options):
            self.calls.append(x.shape)
            return torch.full_like(x, float(len(self.calls)))

    windows = ContextWindows(length=4, overlap=2, fuse_method="overlap-linear")
    cut, _ = answered(windows, LATENTS[:6], Condition(context=text()), model=Numbered())
    assert cut[:, 0, 0, 0].tolist() == pytest.approx([1, 1, 4 / 3, 5 / 3, 2, 2])


# ---------------------------------------------------------------- what is cut


def test_rows_of_text_masks_and_pictures_beside_go_with_their_frames():
    mask = torch.rand(11, 3, 5)
    beside = torch.rand(11, 4, 3, 5)
    condition = Condition(context=text(11), mask=mask, mask_strength=0.7, extras={"c_concat": beside})
    cut, whole = answered(ContextWindows(length=4, overlap=1), LATENTS, condition)
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)


def test_fewer_rows_than_frames_are_repeated_over_all_of_them():
    cut, whole = answered(ContextWindows(length=4, overlap=1), LATENTS, Condition(context=text(3)))
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dim", [2, 3])
def test_windows_over_a_side_of_pictures_cut_masks_areas_and_pictures_beside(dim):
    x = torch.randn(2, 4, 9, 9)
    base = Condition(context=text(), mask=torch.rand(1, 9, 9), extras={"c_concat": torch.rand(1, 4, 9, 9)})
    windows = ContextWindows(length=4, overlap=2, dim=dim)
    cut, whole = answered(windows, x, base)
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)
    area = replace(base, mask=None, area=(6, 5, 1, 2), strength=0.5)
    cut, whole = answered(windows, x, area)
    assert torch.equal(cut[..., 0, 0], torch.zeros(2, 4))
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-5)


def test_frames_of_a_video_are_cut_along_their_dimension():
    x = torch.randn(1, 4, 9, 3, 5)
    condition = Condition(context=text(), extras={})
    cut, whole = answered(ContextWindows(length=4, overlap=2, dim=2, schedule="looped_uniform"), x, condition)
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)


def test_a_network_that_mixes_frames_is_told_how_many_a_window_has():
    frames = Window(dim=0, indices=(3, 4), count=11)
    assert of_window("num_video_frames", 11, frames, LATENTS) == 2
    assert of_window("other", 11, frames, LATENTS) == 11
    assert of_window("num_video_frames", 11, Window(dim=2, indices=(1,), count=3), LATENTS) == 11


class Picture(Control):
    """A control that adds its picture's first pixel of each cell."""

    compression_ratio = 2

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        return self.hint_for(x_noisy, batched_number)[:, :1, ::2, ::2]


@pytest.mark.parametrize(("dim", "pictures"), [(0, 11), (0, 1), (0, 3), (2, 1), (3, 11)])
def test_controls_follow_the_pictures_of_their_window(dim, pictures):
    hint = torch.rand(pictures, 3, 6, 10)
    control = Picture().set_cond_hint(hint)
    control.set_previous_controlnet(Picture().set_cond_hint(hint))
    cut, whole = answered(
        ContextWindows(length=2, overlap=1, dim=dim), LATENTS, Condition(context=text(), control=control)
    )
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)
    assert control.window is None
    assert control.previous_controlnet.window is None


def test_an_adapters_kept_features_are_those_of_the_window():
    seen = []

    class Adapter:
        shape = SimpleNamespace(channels=192, placement=SD1_PLACEMENT)

        def __call__(self, hint):
            seen.append(hint[:, 0, 0, 0].tolist())
            return [hint]

    part = SimpleNamespace(module=Adapter(), dtype=torch.float32)
    control = AdapterControl(part, SimpleNamespace(load=lambda part: None))
    control.set_cond_hint(torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 16, 16))
    for indices in ((0, 1), (0, 1), (2, 3)):
        control.window = Window(dim=0, indices=indices, count=4)
        control.features(torch.zeros(2, 4, 2, 2), torch.ones(2), {}, 1)
    assert seen == [[0, 1], [2, 3]]


def test_calls_are_told_their_window():
    model = Pointwise()
    answered(ContextWindows(length=8, overlap=2), LATENTS, Condition(context=text()), model=model)
    assert [call[1]["context_window"].indices for call in model.calls] == [tuple(range(8)), tuple(range(3, 11))]


@pytest.mark.parametrize("dim", [1, 4])
def test_a_dimension_that_cannot_be_cut_is_refused(dim):
    with pytest.raises(NodeInputError, match="take 0 for the batch, or 2 for the frames of a video"):
        answered(ContextWindows(length=2, dim=dim), LATENTS, Condition(context=text()))


def test_hooks_hold_in_every_window(tmp_path):
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), context=8, text_layers=1, vae_widths=(4, 4))
    opened = load_checkpoint(write_tiny_checkpoint(tmp_path / "small.safetensors", sizes), Memory(mode="cpu"))
    lora = {
        f"lora_unet_out_2.lora_{side}.weight": torch.ones(*shape)
        for side, shape in (("up", (4, 1, 1, 1)), ("down", (1, 8, 3, 3)))
    }
    group = create_hook_lora(lora, 1.0, 0.0)
    positive = set_hooks_for_conditioning([[torch.randn(1, 4, 8), {}]], group)
    values = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    sides = {"positive": positive, "negative": [[torch.randn(1, 4, 8), {}]]}
    latent = {"samples": torch.zeros(5, 4, 4, 8)}
    [windowed] = ContextWindowsManual().execute(opened.model, 2, 1, "standard_static", 1, False, "flat", 0)
    cut = sample(windowed, latent, **values, **sides)
    torch.testing.assert_close(cut, sample(opened.model, latent, **values, **sides), rtol=1e-3, atol=1e-2)


# ---------------------------------------------------------------- nodes


def test_the_node_puts_windows_on_a_copy():
    handle = SimpleNamespace(clone=lambda: SimpleNamespace(model_options={}))
    [changed] = ContextWindowsManual().execute(handle, 16, 4, "looped_uniform", 2, True, "relative", 0)
    windows = changed.model_options[HANDLER]
    assert windows == ContextWindows(
        length=16, overlap=4, schedule="looped_uniform", stride=2, closed_loop=True, fuse_method="relative", dim=0
    )
    [changed] = WanContextWindowsManual().execute(handle, 81, 30, "standard_static", 1, False, "pyramid")
    windows = changed.model_options[HANDLER]
    assert (windows.length, windows.overlap, windows.dim) == (21, 8, 2)


def test_four_frames_are_one_latent_frame():
    assert [latent_frames(count) for count in (0, 1, 2, 5, 81)] == [0, 1, 1, 2, 21]


def test_memory_is_asked_for_one_window():
    handle = toy_handle("eps_sd15")
    shape = torch.Size((32, 4, 8, 8))
    assert evaluated_shape(handle, shape) == (64, 4, 8, 8)
    assert evaluated_shape(ToyHandle(model=handle.model, model_options={HANDLER: ContextWindows(length=8)}), shape) == (
        *(16, 4, 8, 8),
    )
