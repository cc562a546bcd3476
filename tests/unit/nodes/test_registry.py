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


# ---------------------------------------------------------------- packs


def test_class_that_stands_in_for_a_packs_makes_room_for_it():
    registry, stand_in, real = Registry(), node_class("VHS_VideoCombine"), node_class("VHS_VideoCombine")
    stand_in.PACK = "custom_nodes.ComfyUI-VideoHelperSuite"
    registry.add(stand_in, builtin=True)
    assert registry.add(real, pack="custom_nodes.video") is True
    assert registry.get("VHS_VideoCombine")[1] is real


def test_force_puts_a_class_in_the_place_of_a_built_in_one():
    registry, theirs = Registry(), node_class("SaveImage")
    registry.add(node_class("SaveImage"), builtin=True)
    registry.add(theirs, pack="custom_nodes.other", force=True)
    assert registry.get("SaveImage")[1] is theirs


def test_late_class_is_taken_after_the_registry_is_frozen():
    registry = Registry()
    registry.freeze()
    assert registry.add(node_class("Late"), late=True) is True


def test_built_in_classes_are_found_by_name():
    registry, ours = Registry(), node_class("Adder")
    registry.add(ours, builtin=True)
    registry.add(node_class("Theirs"), pack="custom_nodes.other")
    assert (registry.builtin("Adder"), registry.builtin("Theirs"), registry.builtin("None")) == (ours, None, None)


def changing(name, choices):
    """A class whose choices are a list that the test changes."""
    cls = node_class(name)
    cls.INPUT_TYPES = classmethod(lambda cls: {"required": {"choice": (list(choices),)}})
    return cls


@pytest.fixture
def choices():
    return ["a"]


@pytest.fixture
def listed(choices):
    """A registry with two pack classes that were told once."""
    registry = Registry()
    registry.add(changing("Changing", choices), pack="custom_nodes.one")
    registry.add(changing("Constant", ["x"]), pack="custom_nodes.one")
    registry.wire_templates()
    return registry


def test_nothing_changed_tells_nothing(listed):
    assert listed.changed(1.0) == ([], {})


def test_changed_choices_are_told_once(listed, choices):
    choices.append("b")
    definitions, listings = listed.changed(1.0)
    assert [definition.name for definition in definitions] == ["Changing"]
    assert listings["Changing"]["input"]["required"]["choice"] == [["a", "b"]]
    assert listed.changed(1.0) == ([], {})


def names_seen(told) -> list[str]:
    definitions, listings = told
    assert [definition.name for definition in definitions] == list(listings)
    return list(listings)


def test_an_owner_sees_what_differs_and_what_it_asks_for(listed, choices):
    choices.append("of the owner")
    seen = listed.seen([], differing=True, limit_s=9)
    assert names_seen(seen) == ["Changing"]
    assert seen[1]["Changing"]["input"]["required"]["choice"] == [["a", "of the owner"]]
    assert names_seen(listed.seen(["Constant"], differing=True, limit_s=9)) == ["Constant", "Changing"]
    assert names_seen(listed.seen(["Constant", "Unknown"], differing=False, limit_s=9)) == ["Constant"]
    assert names_seen(listed.seen(["Constant"], differing=True, limit_s=-1)) == []


def test_what_an_owner_sees_is_not_noted(listed, choices):
    choices.append("of the owner")
    listed.seen([], differing=True, limit_s=9)
    choices.pop()
    assert listed.changed(9.0) == ([], {})


def test_a_class_that_cannot_be_listed_for_an_owner_is_left_out(listed, choices):
    listed.get("Changing")[1].INPUT_TYPES = classmethod(lambda cls: 1 / 0)
    assert names_seen(listed.seen(["Changing"], differing=True, limit_s=9)) == []


def test_definition_changes_with_the_listing(listed, choices):
    choices.append("b")
    listed.changed(1.0)
    assert listed.get("Changing")[0].inputs[0].choices.values == ("a", "b")


def test_looking_goes_on_where_time_ran_out(listed, choices):
    choices.append("b")
    calls = iter([False, True])  # enough after one class, whichever that is
    first = listed.changed(1.0, lambda: next(calls))[0]
    calls = iter([False, True])
    second = listed.changed(1.0, lambda: next(calls))[0]
    assert [definition.name for definition in (*first, *second)] == ["Changing"]


def test_late_class_counts_as_changed(listed):
    listed.freeze()
    listed.add(node_class("Late"), pack="custom_nodes.one", late=True)
    assert [definition.name for definition in listed.changed(1.0)[0]] == ["Late"]


def test_class_that_fails_keeps_its_definition_and_has_no_listing(listed, caplog):
    listed.get("Changing")[1].INPUT_TYPES = classmethod(lambda cls: 1 / 0)
    definitions, listings = listed.fresh(["Changing"])
    assert ([definition.name for definition in definitions], listings) == (["Changing"], {})
    assert "cannot be listed any more" in caplog.text


def test_class_that_goes_on_failing_is_logged_once(listed, caplog):
    listed.get("Changing")[1].INPUT_TYPES = classmethod(lambda cls: 1 / 0)
    listed.fresh(["Changing"])
    caplog.clear()
    assert listed.changed(1.0) == ([], {})
    assert caplog.text == ""


def test_fresh_of_an_unknown_class_says_so(listed):
    with pytest.raises(UnknownName, match="did you mean 'Changing'"):
        listed.fresh(["Changings"])


def test_slow_class_is_only_described_when_asked_for(listed, choices, monkeypatch):
    monkeypatch.setattr("nodes.registry.SLOW_S", -1.0)
    listed.fresh(["Changing"])
    choices.append("b")
    assert listed.changed(1.0) == ([], {})
    assert listed.fresh(["Changing"])[0][0].inputs[0].choices.values == ("a", "b")
