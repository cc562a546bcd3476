"""Advice about values in inputs that take links only."""

import pytest

from executor.contract.v1 import describe
from executor.graph.literals import unlinked_tip
from tests.unit.executor.graph.harness import Bench, node, node_class

TYPES = {
    "latent": ("LATENT", {"tooltip": "what to work on"}),
    "steps": ("INT", {"default": 1}),
    "way": (["a", "b"],),
    "?any": ("*",),
    "?own": ("COLOUR", {"default": "#fff"}),
}
WORK = node_class(
    "Work", lambda self, **inputs: (inputs["latent"]["samples"],), TYPES, output=True, returns=("LATENT",)
)


def tip(**inputs):
    return unlinked_tip(describe("Work", WORK), inputs)


def test_a_value_in_a_link_input_is_named():
    assert tip(latent="x", steps=3) == 'Only the output of another node fits here, not a value: latent is "x".'


@pytest.mark.parametrize(
    "inputs", [{"latent": ["1", 0]}, {"steps": 3}, {"way": "a"}, {"any": "x"}, {"own": "#000"}, {"unknown": 1}]
)
def test_links_widgets_and_open_inputs_are_fine(inputs):
    assert tip(**inputs) == ""


def test_long_values_are_cut():
    assert len(tip(latent="x" * 1000)) < 150


def test_the_failed_node_tells_it():
    result = Bench(WORK).run({"1": node("Work", latent="x", steps=1, way="a")})
    assert 'latent is "x"' in result.messages[-1][1]["exception_message"]
