"""Operations in the place of their inputs: the same values, nothing written over where gradients or types forbid it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from executor.inference.mmdit_layers import BlockSizes, JointBlock
from executor.inference.overwriting import gelu, plus, summed
from tests.tiny_flux import random_flux
from tests.tiny_wan import random_wan, randomized

GATE, ANSWER = torch.full((1, 1, 4), 0.5), torch.arange(8.0).reshape(1, 2, 4)
OPERATIONS = {
    "gelu": (gelu, lambda x: functional.gelu(x, approximate="tanh")),
    "plus": (lambda x: plus(x, GATE, ANSWER), lambda x: x + GATE * ANSWER),
    "summed": (lambda x: summed(x, ANSWER), lambda x: x + ANSWER),
}


def tokens() -> torch.Tensor:
    return torch.linspace(-2, 2, 8).reshape(1, 2, 4)


@pytest.mark.parametrize(("own", "plain"), OPERATIONS.values(), ids=OPERATIONS)
def test_the_answer_is_that_of_the_plain_operation_in_the_place_of_the_input(own, plain):
    x = tokens()
    wanted, place = plain(x), x.data_ptr()
    found = own(x)
    torch.testing.assert_close(found, wanted)
    assert found.data_ptr() == place


@pytest.mark.parametrize(("own", "plain"), OPERATIONS.values(), ids=OPERATIONS)
def test_gradients_are_those_of_the_plain_operation(own, plain):
    def gradient(operation) -> torch.Tensor:
        x = tokens().requires_grad_()
        operation(x * 1.5).sum().backward()
        return x.grad

    torch.testing.assert_close(gradient(own), gradient(plain))


def test_an_input_of_fewer_bits_is_left_as_it_is():
    x = tokens().half()
    before = x.clone()
    assert plus(x, GATE, ANSWER).dtype == summed(x, ANSWER).dtype == torch.float32
    assert torch.equal(x, before)


def joint_block() -> JointBlock:
    sizes = BlockSizes(width=16, heads=2, inner=32, normed=True, dual=True, last=False)
    return randomized(JointBlock(sizes))


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


BLOCKS = {
    "Flux, double": lambda: (
        random_flux().double_blocks[0],
        (rows(2, 3, 64), rows(2, 5, 64), rows(2, 64), torch.eye(2).expand(1, 1, 8, 16, 2, 2)),
    ),
    "Flux, single": lambda: (
        random_flux().single_blocks[0],
        (rows(2, 8, 64), rows(2, 64), torch.eye(2).expand(1, 1, 8, 16, 2, 2)),
    ),
    "Stable Diffusion 3": lambda: (joint_block(), (rows(2, 3, 16), rows(2, 5, 16), rows(2, 16))),
    "Wan": lambda: (
        random_wan().blocks[0],
        (rows(2, 4, 48), rows(2, 1, 6, 48), torch.eye(2).expand(1, 1, 4, 12, 2, 2), rows(2, 5, 48)),
    ),
}


@pytest.mark.parametrize("made", BLOCKS.values(), ids=BLOCKS)
def test_a_block_leaves_what_it_is_given_as_it_is(made):
    block, given = made()
    before = [each.clone() for each in given]
    block(*given)
    assert all(torch.equal(each, was) for each, was in zip(given, before, strict=True))


@pytest.mark.parametrize("made", BLOCKS.values(), ids=BLOCKS)
def test_a_block_answers_the_same_where_gradients_are_asked_for(made):
    block, given = made()
    plain = block(*given)
    asked = block(given[0].clone().requires_grad_(), *given[1:])
    for each, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (plain, asked)), strict=True):
        torch.testing.assert_close(each, other.detach())
        assert other.grad_fn is not None
    sum(each.sum() for each in (asked if isinstance(asked, tuple) else (asked,))).backward()
