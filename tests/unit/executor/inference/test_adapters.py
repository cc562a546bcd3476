"""Each way of writing a change down against the change written out."""

import itertools

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference.adapters import (
    Difference,
    Generalised,
    Hadamard,
    Kronecker,
    LowRank,
    Replacement,
    Rotation,
    TowardsModel,
    adapter_of,
)

WEIGHT = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
KERNEL = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_lora_adds_the_product_of_its_factors_scaled_by_alpha_over_rank():
    up, down = noise(6, 2), noise(2, 4)
    changed = LowRank(up=up, down=down, alpha=1.0).changed(WEIGHT, 0.7)
    close(changed, WEIGHT + 0.7 * (1.0 / 2) * up @ down)


def test_lora_without_alpha_is_not_scaled():
    up, down = noise(6, 2), noise(2, 4)
    close(LowRank(up=up, down=down).changed(WEIGHT, 1.0), WEIGHT + up @ down)


def test_locon_of_a_kernel_is_two_convolutions_one_after_the_other():
    up, down, x = noise(6, 2, 1, 1), noise(2, 4, 3, 3), noise(1, 4, 5, 5)
    delta = LowRank(up=up, down=down).changed(KERNEL, 1.0) - KERNEL
    conv = torch.nn.functional.conv2d
    close(conv(x, delta), conv(conv(x, down), up))


def test_locon_with_a_core_is_three_convolutions_one_after_the_other():
    up, core, down, x = noise(6, 2, 1, 1), noise(2, 2, 3, 3), noise(2, 4, 1, 1), noise(1, 4, 5, 5)
    delta = LowRank(up=up, down=down, core=core).changed(KERNEL, 1.0) - KERNEL
    conv = torch.nn.functional.conv2d
    close(conv(x, delta), conv(conv(conv(x, down), core), up))


def test_loha_multiplies_two_products_place_by_place():
    a1, b1, a2, b2 = noise(6, 2), noise(2, 4), noise(6, 3)[:, :2], noise(3, 4)[:2]
    changed = Hadamard(left=(a1, b1), right=(a2, b2), alpha=4.0).changed(WEIGHT, 0.5)
    close(changed, WEIGHT + 0.5 * 2.0 * (a1 @ b1) * (a2 @ b2))


def test_loha_with_cores_rebuilds_kernels():
    t, a, b = noise(2, 2, 3, 3), noise(2, 6), noise(2, 4)
    one = torch.einsum("ijkl,ip,jr->prkl", t, a, b)
    close(Hadamard(left=(a, b), right=(a, b), cores=(t, t)).changed(KERNEL, 1.0), KERNEL + one * one)


def test_lokr_is_a_kronecker_product_scaled_only_when_factored():
    w1, w2, a, b = noise(2, 2), noise(3, 2), noise(3, 1), noise(1, 2)
    close(Kronecker(left=(w1,), right=(w2,), alpha=9.0).changed(WEIGHT, 1.0), WEIGHT + torch.kron(w1, w2))
    factored = Kronecker(left=(w1,), right=(a, b), alpha=0.5)
    close(factored.changed(WEIGHT, 2.0), WEIGHT + 2.0 * 0.5 * torch.kron(w1, a @ b))


def test_lokr_of_a_kernel_keeps_its_sides():
    w1, w2 = noise(2, 2), noise(3, 2, 3, 3)
    found = Kronecker(left=(w1,), right=(w2,)).changed(KERNEL, 1.0) - KERNEL
    close(found[:3, :2], w1[0, 0] * w2)


def test_lokr_with_a_core_rebuilds_the_kernels_it_multiplies():
    w1, t, a, b = noise(2, 2), noise(2, 2, 3, 3), noise(2, 3), noise(3, 2)[:2]
    kernel = torch.einsum("pqhw,po,qi->oihw", t, a, b)
    found = Kronecker(left=(w1,), right=(a, b), core=t, alpha=0.5).changed(KERNEL, 1.0) - KERNEL
    wanted = torch.zeros(6, 4, 3, 3)
    for row, column in itertools.product(range(2), range(2)):
        wanted[3 * row : 3 * row + 3, 2 * column : 2 * column + 2] = 0.25 * w1[row, column] * kernel
    close(found, wanted)


@pytest.mark.parametrize(("magnitude", "dim"), [(noise(6, 1).abs(), 1), (noise(1, 4).abs(), 0)], ids=["out", "in"])
def test_dora_sets_the_magnitudes_of_the_changed_weight(magnitude, dim):
    up, down = noise(6, 2), noise(2, 4)
    changed = LowRank(up=up, down=down, magnitude=magnitude).changed(WEIGHT, 1.0)
    close(changed.norm(dim=dim, keepdim=True), magnitude)
    half = LowRank(up=up, down=down, magnitude=magnitude).changed(WEIGHT, 0.5)
    close(half, (WEIGHT + changed) / 2)


def test_a_difference_of_a_larger_shape_fills_up_with_zeros_only_when_it_may():
    larger = noise(6, 9)
    changed = Difference(larger, pads=True).changed(WEIGHT, 1.0)
    close(changed, torch.cat([WEIGHT, torch.zeros(6, 5)], dim=1) + larger)
    with pytest.raises(RuntimeError, match=r"shape \(6, 9\)"):
        Difference(larger).changed(WEIGHT, 1.0)


def test_whole_tensors_replace_or_lead():
    other = noise(6, 4)
    close(Replacement(other).changed(WEIGHT, 0.1), other)
    close(TowardsModel(other).changed(WEIGHT, 0.25), 0.75 * WEIGHT + 0.25 * other)


def test_tuples_of_packs_mean_the_same():
    up, down = noise(6, 2), noise(2, 4)
    for value in (("lora", (up, down, 2.0, None, None, None)), ("diff", (up @ down,)), (up @ down,)):
        close(adapter_of(value, "k").changed(WEIGHT, 1.0), WEIGHT + up @ down)


def test_an_unknown_kind_is_named():
    with pytest.raises(NodeInputError, match=r"the patch of k is of the kind 'ia3'; known are: diff, set"):
        adapter_of(("ia3", ()), "k")


# ---------------------------------------------------------------- changes that multiply the weight


@pytest.mark.parametrize("turned_round", [False, True])
def test_glora_adds_the_weight_times_one_product_and_another_product(turned_round):
    a1, a2, b1, b2 = noise(4, 2), noise(2, 4), noise(6, 2), noise(2, 4)
    a, b = ((a2, a1), (b2, b1)) if turned_round else ((a1, a2), (b1, b2))
    changed = Generalised(a=a, b=b, alpha=1.0).changed(WEIGHT, 0.5)
    close(changed, WEIGHT + 0.5 * 0.5 * (WEIGHT @ a1 @ a2 + b1 @ b2))


def test_glora_of_a_kernel_lets_the_layer_see_a_changed_picture():
    """Chavan et al. 2023: W (x + A x) + B x."""
    a1, a2 = noise(4, 2, 1, 1), noise(2, 4, 1, 1)
    b1, b2, core, x = noise(6, 2, 1, 1), noise(2, 4, 3, 3), noise(2, 2, 3, 3), noise(1, 4, 5, 5)
    conv = torch.nn.functional.conv2d
    seen = conv(x + conv(conv(x, a2), a1), KERNEL)
    close(conv(x, Generalised(a=(a1, a2), b=(b1, b2)).changed(KERNEL, 1.0)), seen + conv(conv(x, b2), b1))
    down = noise(2, 4, 1, 1)
    with_core = Generalised(a=(a1, a2), b=(b1, down), core=core).changed(KERNEL, 1.0)
    close(conv(x, with_core), seen + conv(conv(conv(x, down), core), b1))


def rotations(blocks, bound=None):
    """Cayley's transform written out."""
    skew = blocks - blocks.transpose(-1, -2)
    if bound is not None:
        skew = skew * min(1.0, bound / float(skew.norm()))
    standing = torch.eye(blocks.shape[-1])
    return (standing + skew) @ torch.linalg.inv(standing - skew)


@pytest.mark.parametrize("weight", [WEIGHT, KERNEL], ids=["matrix", "kernel"])
def test_oft_turns_outputs_within_blocks(weight):
    blocks, rescale = noise(3, 2, 2), noise(6)
    whole = torch.block_diag(*rotations(blocks).transpose(-1, -2))
    close(Rotation(blocks=blocks).changed(weight, 1.0), (whole @ weight.flatten(1)).reshape(weight.shape))
    scaled = Rotation(blocks=blocks, rescale=rescale.reshape(6, *[1] * (weight.ndim - 1))).changed(weight, 1.0)
    close(scaled, (rescale[:, None] * (whole @ weight.flatten(1))).reshape(weight.shape))


def test_oft_keeps_lengths_and_angles():
    changed = Rotation(blocks=noise(1, 6, 6)).changed(WEIGHT, 1.0)
    close(changed.T @ changed, WEIGHT.T @ WEIGHT)


def test_oft_at_half_strength_is_half_the_way_and_at_none_the_weight():
    blocks = noise(3, 2, 2)
    whole = Rotation(blocks=blocks).changed(WEIGHT, 1.0)
    close(Rotation(blocks=blocks).changed(WEIGHT, 0.5), (WEIGHT + whole) / 2)
    close(Rotation(blocks=blocks, rescale=noise(6, 1)).changed(WEIGHT, 0.0), WEIGHT)


def test_oft_stays_within_its_bound():
    blocks = noise(3, 2, 2)
    whole = torch.block_diag(*rotations(blocks, bound=0.05 * 6).transpose(-1, -2))
    close(Rotation(blocks=blocks, bound=0.05).changed(WEIGHT, 1.0), whole @ WEIGHT)


@pytest.mark.parametrize(("factors", "size"), [(1, 4), (2, 4), (3, 2)])
def test_boft_turns_blocks_of_outputs_that_lie_ever_further_apart(factors, size):
    """Liu et al. 2023, figure 3: factor i pairs halves of blocks 2^i apart, written out as permuted block matrices."""
    weight, out = noise(8, 3), 8
    blocks = noise(factors, out // size, size, size)
    whole = torch.eye(out)
    for place in range(factors):
        apart = 2**place * size // 2
        order = [
            base + side * apart + at for base in range(0, out, 2 * apart) for at in range(apart) for side in (0, 1)
        ]
        shuffle = torch.eye(out)[order]
        whole = shuffle.T @ torch.block_diag(*rotations(blocks[place])) @ shuffle @ whole
    close(Rotation(blocks=blocks).changed(weight, 1.0), whole @ weight)


def test_packs_may_hand_them_in_as_tuples():
    blocks, a1, a2, b1, b2 = noise(3, 2, 2), noise(4, 2), noise(2, 4), noise(6, 2), noise(2, 4)
    turned = adapter_of(("oft", (blocks, None, None, None)), "x").changed(WEIGHT, 1.0)
    close(turned, Rotation(blocks=blocks).changed(WEIGHT, 1.0))
    added = adapter_of(("glora", (a1, a2, b1, b2, 1.0, None)), "x").changed(WEIGHT, 1.0)
    close(added, Generalised(a=(a1, a2), b=(b1, b2), alpha=1.0).changed(WEIGHT, 1.0))
