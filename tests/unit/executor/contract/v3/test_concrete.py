"""Dynamic inputs become the inputs that a prompt fills, from definitions alone (reference/execution.md section 14)."""

from __future__ import annotations

import msgspec
import pytest

from executor.contract.concrete import concrete, nested, paired
from executor.contract.definition import NodeDef
from executor.contract.describe import describe
from executor.contract.v3 import io
from tests.unit.executor.contract.v3.schemas import nothing, v3_class


def definition_of(*inputs) -> NodeDef:
    """The definition as the front has it: through the bytes of a message."""
    told = msgspec.msgpack.encode(describe("Node", v3_class("Node", nothing, inputs)))
    return msgspec.msgpack.decode(told, type=NodeDef)


def names(definition: NodeDef, *given: str, **literals: object) -> list[str]:
    """The inputs that there are, optional ones with a question mark."""
    found = concrete(definition, dict.fromkeys(given, LINK) | literals).inputs
    return [item.name + ("?" if item.kind == "optional" else "") for item in found]


def arguments(definition: NodeDef, leaf=None, **given: object) -> dict[str, object]:
    given = {name.replace("__", "."): value for name, value in given.items()}
    return nested(concrete(definition, given), given, leaf)


def growing(item=None, *, optional=False, minimum=1, maximum=3):
    template = io.Autogrow.TemplatePrefix(item or io.Image.Input("i"), prefix="i", min=minimum, max=maximum)
    return io.Autogrow.Input("images", template=template, optional=optional)


LINK = ("1", 0)
MODE = io.DynamicCombo.Input(
    "mode",
    options=[
        io.DynamicCombo.Option("plain", []),
        io.DynamicCombo.Option("sized", [io.Int.Input("size", min=1), io.Image.Input("mask", optional=True)]),
        io.DynamicCombo.Option("many", [growing()]),
        io.DynamicCombo.Option(
            "deep", [io.DynamicCombo.Input("sub", options=[io.DynamicCombo.Option("x", [io.Int.Input("n")])])]
        ),
    ],
)
SLOT = io.DynamicSlot.Input(io.Image.Input("image"), inputs=[io.Int.Input("size"), io.Int.Input("more", optional=True)])


def test_definition_without_dynamic_inputs_stays_the_same_object():
    definition = definition_of(io.Int.Input("a"))
    assert concrete(definition, {}) is definition


def test_the_first_growing_inputs_are_always_there():
    assert names(definition_of(growing(minimum=2))) == ["images.i0", "images.i1"]


def test_further_growing_inputs_are_there_when_filled():
    assert names(definition_of(growing()), "images.i0", "images.i2") == ["images.i0", "images.i2?"]


def test_growing_inputs_end_at_the_maximum():
    assert names(definition_of(growing(maximum=2)), "images.i0", "images.i7") == ["images.i0"]


@pytest.mark.parametrize("item", [growing(io.Image.Input("i", optional=True)), growing(optional=True)])
def test_growing_inputs_are_optional_when_template_or_input_is(item):
    assert names(definition_of(item)) == ["images.i0?"]


def test_growing_inputs_of_given_names():
    template = io.Autogrow.TemplateNames(io.Image.Input("i"), names=["left", "right"], min=1)
    definition = definition_of(io.Autogrow.Input("sides", template=template))
    assert names(definition, "sides.right") == ["sides.left", "sides.right?"]


def test_growing_inputs_come_as_one_dict():
    assert arguments(definition_of(growing()), images__i0=1, images__i2=2) == {"images": {"i0": 1, "i2": 2}}


def test_growing_inputs_come_as_an_empty_dict_when_none_is_there():
    assert arguments(definition_of(growing(minimum=0))) == {"images": {}}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("plain", ["mode"]),
        ("sized", ["mode", "mode.size", "mode.mask?"]),
        ("many", ["mode", "mode.images.i0"]),
        ("unknown", []),
        (["1", 0], []),
    ],
)
def test_only_the_chosen_option_s_inputs_are_there(chosen, expected):
    assert names(definition_of(MODE), mode=chosen) == expected


def test_absent_choice_declares_nothing():
    assert names(definition_of(MODE)) == []


def test_choice_comes_with_its_inputs_in_one_dict():
    assert arguments(definition_of(MODE), mode="sized", mode__size=4) == {"mode": {"mode": "sized", "size": 4}}


def test_choice_nests_what_it_brings():
    assert arguments(definition_of(MODE), mode="many", mode__images__i0=1) == {
        "mode": {"mode": "many", "images": {"i0": 1}}
    }
    assert arguments(definition_of(MODE), mode="deep", mode__sub="x", mode__sub__n=1) == {
        "mode": {"mode": "deep", "sub": {"sub": "x", "n": 1}}
    }


def test_slot_alone_is_optional():
    assert names(definition_of(SLOT)) == ["image?"]


def test_filled_slot_brings_its_inputs():
    assert names(definition_of(SLOT), "image") == ["image?", "image.size", "image.more?"]


def test_slot_comes_with_its_inputs_in_one_dict():
    assert arguments(definition_of(SLOT), image=1, image__size=2) == {"image": {"image": 1, "size": 2}}


def test_empty_slot_passes_nothing():
    assert arguments(definition_of(SLOT)) == {}


def test_growing_choices_grow_with_their_own_inputs():
    definition = definition_of(growing(MODE, minimum=1))
    assert names(definition, "images.i1.size", **{"images.i1": "sized"}) == [
        "images.i1?", "images.i1.size", "images.i1.mask?"
    ]  # fmt: skip


def test_ordinary_inputs_stay_beside():
    definition = definition_of(io.Int.Input("a.b"), growing())
    assert nested(concrete(definition, {"a.b": 1}), {"a.b": 1}) == {"a.b": 1, "images": {}}


def test_lazy_checks_get_values_with_their_names():
    assert arguments(definition_of(growing()), paired, images__i0=None) == {"images": {"i0": (None, "images.i0")}}


def test_people_are_shown_the_last_part():
    inputs = concrete(definition_of(MODE), {"mode": "sized"}).inputs
    assert [item.shown for item in inputs] == ["mode", "size", "mask"]
