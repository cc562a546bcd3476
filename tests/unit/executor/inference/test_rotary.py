"""Turns of tokens by their places: rotations of pairs, however those who made them laid them out."""

from __future__ import annotations

import pytest
import torch

from executor.inference.rotary import rotated, rotations

WIDTHS = (4, 6, 6)


def turns_and_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(2, 5, 3, generator=generator) * 40
    return rotations(places, WIDTHS), torch.randn(2, 3, 5, 16, generator=generator)


def product(turns: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The matrices of the turns times pairs of numbers."""
    return (turns.double() @ x.double().unflatten(-1, (-1, 2))[..., None]).flatten(-3)


def test_turns_are_rotations_that_keep_lengths():
    turns, _ = turns_and_tokens()
    assert turns.shape == (2, 1, 5, 8, 2, 2)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(2).expand(turns.shape))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(turns.shape[:-2]))


def test_pairs_are_multiplied_with_their_turns():
    turns, x = turns_and_tokens()
    torch.testing.assert_close(rotated(x, turns).double(), product(turns, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda x: x.contiguous(),
        lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
        lambda x: torch.cat([x[..., :1], x], dim=-1)[..., 1:],
        lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    ],
    ids=["as usual", "heads side by side", "at an odd place", "numbers apart"],
)
def test_how_tokens_lie_changes_nothing(lay_out):
    turns, x = turns_and_tokens()
    torch.testing.assert_close(rotated(lay_out(x), turns), rotated(x, turns))


@pytest.mark.parametrize("change", [torch.Tensor.contiguous, torch.Tensor.double], ids=["layout", "type"])
def test_turns_that_packs_make_in_another_layout_or_type_count_the_same(change):
    turns, x = turns_and_tokens()
    torch.testing.assert_close(rotated(x, change(turns)), rotated(x, turns))


def test_tokens_keep_their_type():
    turns, x = turns_and_tokens()
    assert rotated(x.bfloat16(), turns).dtype == torch.bfloat16
    torch.testing.assert_close(rotated(x.half(), turns), rotated(x, turns).half(), rtol=2e-3, atol=2e-3)
