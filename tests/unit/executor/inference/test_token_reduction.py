"""Fewer tokens in attention: what is merged or cut comes back to its place."""

import pytest
import torch

from executor.inference.token_reduction import Tiling, TokenMerging, cut_up, matching, put_together

OPTIONS = {"original_shape": [1, 4, 6, 8]}
TOKENS = torch.randn(2, 48, 5, generator=torch.Generator().manual_seed(0))


def test_merging_takes_the_share_of_tokens_off_and_puts_all_back():
    merging = TokenMerging(0.25)
    fewer, context, value = merging.merge(TOKENS, TOKENS, TOKENS, OPTIONS)
    assert fewer.shape == (2, 36, 5)
    assert context is value is TOKENS
    back = merging.unmerge(fewer, OPTIONS)
    assert back.shape == TOKENS.shape
    alone = [(back[0] == row).all(dim=1).any() for row in fewer[0]]
    assert all(alone)


def test_what_merges_nothing_into_it_stays_as_it_was():
    merging = TokenMerging(0.1)
    back = merging.unmerge(merging.merge(TOKENS, TOKENS, TOKENS, OPTIONS)[0], OPTIONS)
    same = (back == TOKENS).all(dim=2).sum(dim=1)
    assert (same >= 48 - 2 * int(48 * 0.1)).all()


def test_equal_tokens_merge_without_loss():
    tokens = torch.ones(1, 48, 3)
    merging = TokenMerging(0.9)
    fewer, _, _ = merging.merge(tokens, tokens, tokens, OPTIONS)
    assert fewer.shape[1] == 12  # one of each 2 x 2 is always kept
    torch.testing.assert_close(merging.unmerge(fewer, OPTIONS), tokens)


def test_smaller_sizes_are_left_alone():
    small = torch.randn(1, 12, 3)
    merging = TokenMerging(0.5)
    fewer, _, _ = merging.merge(small, small, small, OPTIONS)
    assert fewer is small
    assert merging.unmerge(small, OPTIONS) is small


def test_nothing_is_merged_at_no_share():
    assert matching(TOKENS, 6, 8, 0, torch.Generator().manual_seed(0)) is None


def test_a_seed_merges_the_same_tokens_again():
    first, second = (TokenMerging(0.3).merge(TOKENS, TOKENS, TOKENS, OPTIONS)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_cutting_and_joining_is_exact_and_keeps_neighbours_together():
    grid = torch.arange(48.0).reshape(1, 48, 1)
    tiles = cut_up(grid, (2, 2, 3, 4))
    assert tiles[0, :, 0].tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    assert torch.equal(put_together(tiles, (2, 2, 3, 4)), grid)


@pytest.mark.parametrize(("depth", "height", "width"), [(0, 8, 16), (1, 4, 8)])
def test_tiles_attend_within_themselves_at_the_depths_asked_for(depth, height, width):
    tiling = Tiling(32, 1, depth, scales=False)
    tokens = torch.randn(1, height * width, 3)
    tiles, context, value = tiling.tile(tokens, tokens, tokens, {"original_shape": [1, 4, 8, 16]})
    assert tiles is context is value
    assert tiles.shape == (height * width // 16, 16, 3)
    assert torch.equal(tiling.join(tiles, {}), tokens)


def test_pictures_of_one_tile_and_other_depths_are_left_alone():
    tiling = Tiling(256, 2, 0, scales=False)
    for tokens in (torch.randn(1, 128, 3), torch.randn(1, 32, 3)):
        tiles, context, _ = tiling.tile(tokens, context := tokens * 2, tokens, {"original_shape": [1, 4, 8, 16]})
        assert tiles is tokens
        assert tiling.join(tiles, {}) is tokens
        assert not torch.equal(context, tokens)


def test_scaled_depths_have_larger_tiles():
    tiling = Tiling(32, 1, 1, scales=True)
    tokens = torch.randn(1, 128, 3)
    tiles, _, _ = tiling.tile(tokens, tokens, tokens, {"original_shape": [1, 4, 16, 32]})
    assert tiles.shape == (2, 64, 3)
