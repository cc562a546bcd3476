"""Nodes that decode and encode tile by tile: against the whole, and against their blending written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from nodes.builtin.vae import VAEDecode, VAEDecodeTiled, VAEEncode, VAEEncodeTiled
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A VAE of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4, 8, 8))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu")).vae


def ramp(length: int, fade: int) -> Tensor:
    """Weights along one side of a tile: rising in equal steps to one, and falling."""
    places = torch.arange(1.0, length + 1)
    if not 0 < fade < length:
        return torch.ones(length)
    return (places / fade).clamp(max=1) * ((length + 1 - places) / fade).clamp(max=1)


def blended(x: Tensor, run, tile: tuple[int, int], shared: int, factor: float) -> Tensor:
    """Tiles [B, C, h, w] of (height, width), starting so that `shared` cells overlap, each weighed by its ramps."""
    sums = {}
    for top in starts(x.shape[2], tile[0], shared):
        for left in starts(x.shape[3], tile[1], shared):
            done = run(x[:, :, top : top + tile[0], left : left + tile[1]])
            weight = torch.outer(*(ramp(side, round(shared * factor)) for side in done.shape[2:]))
            at = (slice(round(top * factor), None), slice(round(left * factor), None))
            for name, value in (("done", done * weight), ("weight", weight.expand(1, 1, *weight.shape))):
                whole = sums.setdefault(name, torch.zeros(*value.shape[:2], *(round(s * factor) for s in x.shape[2:])))
                whole[..., at[0], at[1]][..., : done.shape[2], : done.shape[3]] += value
    return sums["done"] / sums["weight"]


def starts(length: int, tile: int, shared: int) -> list[int]:
    return [0] if length <= tile else list(range(0, length - shared, tile - shared))


def three_ways(x: Tensor, run, tile: int, shared: int, factor: float) -> Tensor:
    """The mean of wide and low tiles, narrow and high ones, and square ones."""
    shapes = ((tile // 2, tile * 2), (tile * 2, tile // 2), (tile, tile))
    return sum(blended(x, run, shape, shared, factor) for shape in shapes) / 3


def network(vae, name):
    def run(x):
        with torch.no_grad():
            return getattr(vae.part.module, name)(x)

    return run


def test_decoded_tiles_are_blended_as_written_out(vae):
    latent = torch.randn(2, 4, 20, 13)
    [found] = VAEDecodeTiled().decode(vae, {"samples": latent}, 64, 16)
    raw = three_ways(latent, network(vae, "decode"), 8, 2, 8)
    torch.testing.assert_close(found, (raw / 2 + 0.5).clamp(0, 1).movedim(1, -1), rtol=1e-4, atol=1e-5)


def test_encoded_tiles_are_blended_as_written_out(vae):
    pixels = torch.rand(2, 112, 288, 4)
    [found] = VAEEncodeTiled().encode(vae, pixels, 128, 32)
    raw = three_ways(pixels[..., :3].movedim(-1, 1) * 2 - 1, network(vae, "encode"), 128, 32, 1 / 8)
    torch.testing.assert_close(found["samples"], raw, rtol=1e-4, atol=1e-5)


def test_one_tile_is_the_whole(vae):
    latent, pixels = {"samples": torch.randn(1, 4, 6, 9)}, torch.rand(1, 48, 72, 3)
    decoded, encoded = VAEDecodeTiled().decode(vae, latent, 512, 64), VAEEncodeTiled().encode(vae, pixels, 512, 64)
    torch.testing.assert_close(decoded[0], VAEDecode().decode(vae, latent)[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        encoded[0]["samples"], VAEEncode().encode(vae, pixels)[0]["samples"], rtol=1e-4, atol=1e-4
    )


def test_an_overlap_of_more_than_a_quarter_is_cut_to_one(vae):
    latent = {"samples": torch.randn(1, 4, 20, 13)}
    [found] = VAEDecodeTiled().decode(vae, latent, 64, 64)
    assert torch.equal(found, VAEDecodeTiled().decode(vae, latent, 64, 16)[0])


def test_tiles_that_overlap_by_all_of_themselves_are_refused(vae):
    with pytest.raises(NodeInputError, match="tiles of 32 cannot overlap by 32: choose larger tiles or a smaller over"):
        VAEEncodeTiled().encode(vae, torch.rand(1, 112, 160, 3), 64, 32)
