"""Regions are compiled by a process of its own, whose code computes as the layer does and is found again later."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from executor.inference import compiling
from executor.inference.region_compiler import made, traced
from executor.inference.region_process import RegionProcess
from executor.inference.regions import Region, Regions, form_of, known_of, without_numbers
from executor.inference.unet_layers import BasicTransformerBlock, ResBlock

X = torch.linspace(-1, 1, 2 * 5 * 8).reshape(2, 5, 8)
TEXT = torch.linspace(-1, 1, 2 * 3 * 6).reshape(2, 3, 6)
MAPS, TIME = torch.linspace(-1, 1, 2 * 4 * 9).reshape(2, 4, 3, 3), torch.linspace(-1, 1, 12).reshape(2, 6)

ENDS = "tests.unit.executor.inference.no_such_module"


def region_of(layer: torch.nn.Module, x: Tensor, other: Tensor | None) -> Region:
    given = (form_of(x), None if other is None else form_of(other))
    return Region(layer=without_numbers(layer), weights=known_of(layer).forms, given=given)


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (BasicTransformerBlock(8, 6, 2), (X, TEXT)),
        (BasicTransformerBlock(8, 8, 2), (X, None)),
        (ResBlock(4, 8, 6), (MAPS, TIME)),
        (ResBlock(4, 8, 6), (MAPS.contiguous(memory_format=torch.channels_last), TIME)),
    ],
    ids=["text", "no text", "residual", "by cells"],
)
def test_what_is_traced_computes_as_the_layer_does(layer: torch.nn.Module, given: tuple[Tensor, Tensor | None]):
    layer.requires_grad_(False)
    region = region_of(layer, *given)
    with torch.no_grad(), FakeTensorMode():
        inputs = [made(form) for form in (*region.weights, *region.given) if form is not None]
        graph = traced(region, inputs)
    present = [each for each in given if each is not None]
    [answer] = graph(*known_of(layer).places.read(), *present)
    torch.testing.assert_close(answer, layer(*given, {}))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and no word of the user about another one."""
    monkeypatch.setenv(compiling.CACHE, "")
    monkeypatch.delenv(compiling.CACHE)
    return tmp_path / "compiled"


def test_a_process_that_ends_is_a_failure_and_nothing_stays(cache: Path):
    process = RegionProcess(cache, ENDS)
    with pytest.raises(RuntimeError, match="the process that compiles ended"):
        process(region_of(BasicTransformerBlock(8, 6, 2), X, TEXT))
    assert list(cache.iterdir()) == []
    assert os.environ[compiling.CACHE] == str(cache)


def test_what_the_compiler_says_is_told_and_the_process_goes_on(cache: Path):
    process = RegionProcess(cache)
    wrong = region_of(BasicTransformerBlock(8, 6, 2), X[..., :7], TEXT)
    try:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="normalized_shape"):
                process(wrong)
    finally:
        process.close()


@pytest.mark.full
@pytest.mark.skipif(not any(map(shutil.which, compiling.COMPILERS)), reason="no C++ compiler here")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("layer", "given"),
    [(BasicTransformerBlock(8, 6, 2), (X, TEXT)), (ResBlock(4, 8, 6), (MAPS, TIME))],
    ids=["attention", "residual"],
)
def test_really_compiled_code_computes_as_the_layer_does(
    layer: torch.nn.Module, given: tuple[Tensor, Tensor], cache: Path
):
    layer.requires_grad_(False)
    process = RegionProcess(cache)
    regions = Regions(process)
    try:
        with torch.inference_mode():
            plain = regions.run(layer, *given, {})
            with regions.changed:
                assert regions.changed.wait_for(lambda: not regions.left, 600)
            regions.begin()
            assert regions.generation == 1
            torch.testing.assert_close(regions.run(layer, *given, {}), plain)
            assert regions.generation == 1
    finally:
        process.close()
    assert list(cache.iterdir())
