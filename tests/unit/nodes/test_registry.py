"""The registry's rules about names, and what it answers."""

from __future__ import annotations

import pytest

from executor.errors import UnknownName
from nodes.registry import Registry


def node_class(name, category="test"):
    def inputs(cls):
        return {"required": {}}

    attributes = {
        "INPUT_TYPES": classmethod(inputs),
        "RETURN_TYPES": ("INT",),
        "FUNCTION": "run",
        "CATEGORY": category,
        "run": lambda self: (1,),
    }
    return type(name, (), attributes)


def test_answers_definition_and_class():
    registry, cls = Registry(), node_class("Adder")
    registry.add(cls)
    definition, found = registry.get("Adder")
    assert (definition.name, found) == ("Adder", cls)


def test_unknown_name_suggests_the_nearest():
    registry = Registry()
    registry.add(node_class("KSampler"), builtin=True)
    with pytest.raises(UnknownName, match="did you mean 'KSampler'"):
        registry.get("KSampelr")


def test_built_in_keeps_its_name_against_a_pack():
    registry, ours = Registry(), node_class("SaveImage")
    registry.add(ours, builtin=True)
    assert registry.add(node_class("SaveImage"), pack="custom_nodes.other") is False
    assert registry.get("SaveImage")[1] is ours


def test_later_pack_replaces_an_earlier_one():
    registry, later = Registry(), node_class("Shared")
    registry.add(node_class("Shared"), pack="custom_nodes.first")
    assert registry.add(later, pack="custom_nodes.second") is True
    assert registry.get("Shared")[1] is later


def test_frozen_registry_takes_no_more():
    registry = Registry()
    registry.freeze()
    with pytest.raises(RuntimeError, match="too late"):
        registry.add(node_class("Late"))


def test_class_that_cannot_be_listed_is_left_out(caplog):
    class Moody:
        RETURN_TYPES = ()
        FUNCTION = "run"
        asked = 0

        @classmethod
        def INPUT_TYPES(cls):
            cls.asked += 1
            if cls.asked > 1:
                raise RuntimeError("not today")
            return {"required": {}}

    registry = Registry()
    registry.add(Moody)
    registry.add(node_class("Calm"))
    assert list(registry.wire_templates()) == ["Calm"]
    assert "Moody" in caplog.text
