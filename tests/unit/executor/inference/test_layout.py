"""Weights laid out as a GPU likes them answer as before, see patches, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.devices import Placement, Ways, ways_of
from executor.inference.handle import ModelHandle
from executor.inference.layout import (
    CellwiseGroupNorm,
    can_be_cellwise,
    cellwise_leaves,
    is_cellwise,
    join_projections,
    part_projections,
    rowwise_leaves,
)
from executor.inference.memory import Memory
from executor.inference.unet_layers import BasicTransformerBlock, CrossAttention
from executor.settings import Settings

CELLS = torch.channels_last


def norm(channels: int = 24, groups: int = 8) -> nn.GroupNorm:
    made = nn.GroupNorm(groups, channels).requires_grad_(False)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


@pytest.mark.parametrize("mean", [0.0, 3.0, -50.0])  # sums of squares lose digits by its square
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_a_norm_of_cells_is_the_norm(mean: float, dtype: torch.dtype, bound: float):
    plain = norm()
    x = (torch.randn(3, 24, 6, 10) * 2 + mean).to(dtype)
    exact = plain(x.float())
    cellwise_leaves(plain)
    assert type(plain) is CellwiseGroupNorm
    found = plain.to(dtype)(x.to(memory_format=CELLS))
    assert found.is_contiguous(memory_format=CELLS)
    torch.testing.assert_close(found.float(), exact, rtol=bound, atol=bound * max(1.0, mean**2 / 25))


def test_a_norm_of_rows_is_pytorchs_own():
    plain, x = norm(), torch.randn(2, 24, 4, 4)
    wanted = plain(x)
    cellwise_leaves(plain)
    assert torch.equal(plain(x), wanted)


def test_norms_of_frames_and_tokens_are_pytorchs_own():
    plain = norm()
    cellwise_leaves(plain)
    for shape in ((2, 24, 3, 4, 4), (2, 24, 7)):
        x = torch.randn(shape)
        assert torch.equal(plain(x), nn.functional.group_norm(x, 8, plain.weight, plain.bias))


def test_norms_come_back():
    plain = norm()
    cellwise_leaves(plain)
    rowwise_leaves(plain)
    assert type(plain) is nn.GroupNorm


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (torch.zeros(1, 3, 4, 4).to(memory_format=CELLS), True),
        (torch.zeros(1, 3, 4, 4), False),
        (torch.zeros(1, 3, 1, 1), False),
        (torch.zeros(3, 4, 4), False),
    ],
)
def test_which_maps_lie_by_cells(x: Tensor, told: bool):
    assert is_cellwise(x) is told


def test_networks_of_videos_stay_by_rows():
    assert can_be_cellwise(nn.Sequential(nn.Conv2d(1, 1, 1)))
    assert not can_be_cellwise(nn.Sequential(nn.Conv3d(1, 1, 1)))


# ---------------------------------------------------------------- joined projections


def attention() -> CrossAttention:
    return CrossAttention(16, 16, 4).requires_grad_(False)


def test_joined_projections_answer_alike():
    layer, x = attention(), torch.randn(2, 5, 16)
    wanted = layer(x)
    join_projections(layer)
    assert layer.is_joined()
    torch.testing.assert_close(layer(x), wanted)


def test_the_parts_are_parts_of_the_joined_weight():
    layer = attention()
    values = [part.weight.clone() for part in (layer.to_q, layer.to_k, layer.to_v)]
    join_projections(layer)
    assert layer.joined is not None
    assert torch.equal(layer.joined.whole, torch.cat(values))
    own = layer.joined.whole.untyped_storage().data_ptr()
    assert all(part.weight.untyped_storage().data_ptr() == own for part in (layer.to_q, layer.to_k, layer.to_v))


def test_another_weight_is_seen():
    layer, x = attention(), torch.randn(2, 5, 16)
    join_projections(layer)
    layer.to_k.weight = nn.Parameter(torch.zeros(16, 16), requires_grad=False)
    assert not layer.is_joined()
    uniform = layer.to_out(layer.to_v(x).mean(dim=1, keepdim=True).expand_as(x))
    torch.testing.assert_close(layer(x), uniform)


def test_attention_to_a_context_is_apart():
    layer, x, context = attention(), torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    wanted = layer(x, context)
    join_projections(layer)
    assert torch.equal(layer(x, context), wanted)


def test_projections_of_other_sizes_or_kinds_are_not_joined():
    biased = attention()
    biased.to_q = nn.Linear(16, 16)
    for layer in (CrossAttention(16, 8, 4), biased):
        join_projections(layer)
        assert layer.joined is None


def test_patches_see_their_own_queries():
    block, x = BasicTransformerBlock(16, 16, 4).requires_grad_(False), torch.randn(1, 5, 16)
    options = {"patches": {"attn1_patch": [lambda q, k, v, given: (q, k * 2, v)]}}
    wanted = block(x, x, options)
    join_projections(block)
    assert torch.equal(block(x, x, options), wanted)


def test_projections_are_parted():
    layer = attention()
    join_projections(layer)
    part_projections(layer)
    assert layer.joined is None


# ---------------------------------------------------------------- through a MODEL


@pytest.fixture
def arranged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are laid out on this machine too."""
    monkeypatch.setattr(Placement, "arranges", property(lambda self: not self.casts))
    monkeypatch.setattr(Placement, "packs", property(lambda self: False))


def denoised(model: ModelHandle, strength: float = 0.0) -> Tensor:
    """One call of a small network, patched at a strength."""
    x, text = torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8), torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
    used = model.clone()
    names = [name for name in model.named_weights() if name.endswith(("attn1.to_k.weight", "in_layers.2.weight"))]
    if strength:
        generator = torch.Generator().manual_seed(1)
        added = {name: torch.randn(model.named_weights()[name].shape, generator=generator) for name in names}
        used.add_patches({name: (each,) for name, each in added.items()}, strength)
    used.load(x.shape)
    with torch.inference_mode():
        return used.model.apply(x, torch.tensor([3.0]), context=text)


def test_a_network_laid_out_answers_alike(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    wanted = [denoised(tiny.model, strength) for strength in (0.0, 0.3)]
    tiny.model.model.part.release()
    monkeypatch.setattr(Placement, "arranges", property(lambda self: not self.casts))
    monkeypatch.setattr(Placement, "packs", property(lambda self: False))
    for strength, plain in zip((0.0, 0.3, 0.0), (*wanted, wanted[0]), strict=True):
        torch.testing.assert_close(denoised(tiny.model, strength), plain, rtol=1e-3, atol=1e-3)
    module = tiny.model.model.part.module
    layers = [layer for layer in module.modules() if isinstance(layer, CrossAttention)]
    assert any(layer.is_joined() for layer in layers)
    assert any(isinstance(leaf, CellwiseGroupNorm) for leaf in module.modules())


def test_a_released_network_is_as_it_was(tiny: Checkpoint, arranged: None):
    part = tiny.model.model.part
    kinds = [type(leaf) for leaf in part.module.modules()]
    denoised(tiny.model, 0.3)
    part.release()
    assert [type(leaf) for leaf in part.module.modules()] == kinds
    held = part.module.state_dict()
    assert all(held[key].data_ptr() == weight.data_ptr() for key, weight in part.weights.items())
    assert not any(isinstance(layer, CrossAttention) and layer.joined for layer in part.module.modules())


def test_layout_may_be_switched_off(tiny: Checkpoint, arranged: None):
    tiny.model.memory.ways = Ways(arranges=False)
    denoised(tiny.model)
    assert not tiny.model.model.part.is_arranged


# ---------------------------------------------------------------- wanted by the user (--force-channels-last)


def maps_of(model: ModelHandle) -> list[bool]:
    """Whether the channels of a cell lie side by side in what each 3x3 convolution is given, in one call."""
    seen: list[bool] = []
    layers = [each for each in model.model.part.module.modules() if isinstance(each, nn.Conv2d)]
    hooks = [each.register_forward_pre_hook(lambda layer, given: seen.append(is_cellwise(given[0]))) for each in layers]
    denoised(model)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("packs", [True, False])
def test_forced_channels_last_answers_alike(packs: bool, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    wanted = [denoised(tiny.model, strength) for strength in (0.0, 0.3)]
    tiny.model.model.part.release()
    tiny.model.memory.ways = Ways(channels_last=True)
    if not packs:
        monkeypatch.setattr(Placement, "packs", property(lambda self: False))
    for strength, plain in zip((0.0, 0.3, 0.0), (*wanted, wanted[0]), strict=True):
        torch.testing.assert_close(denoised(tiny.model, strength), plain, rtol=1e-3, atol=1e-3)


def test_forced_channels_last_lays_every_map_and_weight_so(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Placement, "packs", property(lambda self: False))
    assert not any(maps_of(tiny.model))
    tiny.model.model.part.release()
    tiny.model.memory.ways = Ways(channels_last=True)
    assert all(maps_of(tiny.model))
    module = tiny.model.model.part.module
    assert all(is_cellwise(leaf.weight) for leaf in module.modules() if is_wide(leaf))


def is_wide(leaf: nn.Module) -> bool:
    """Whether a layer's weights lie otherwise by cells than by rows."""
    return isinstance(leaf, nn.Conv2d) and leaf.kernel_size != (1, 1)


def test_weights_that_are_cast_at_every_call_stay_as_in_the_file(tiny_file: Path):
    model = load_checkpoint(tiny_file, Memory(torch.device("cpu"), mode="low", ways=Ways(channels_last=True))).model
    assert not any(maps_of(model))


def test_a_network_released_is_given_maps_as_ever(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Placement, "packs", property(lambda self: False))
    tiny.model.memory.ways = Ways(channels_last=True)
    denoised(tiny.model)
    tiny.model.model.part.release()
    tiny.model.memory.ways = Ways()
    assert not any(maps_of(tiny.model))


def test_the_flag_is_heard():
    assert ways_of(Settings(force_channels_last=True)).channels_last
    assert not ways_of(Settings()).channels_last
