"""V1 classes read into definitions (reference/execution.md section 13)."""

import json

import msgspec
import pytest

from executor.contract.definition import FileChoices, FixedChoices, InputDef, NodeDef, OutputDef
from executor.contract.types import FileList
from executor.contract.v1 import describe


def node_of(inputs=None, **attributes):
    return type(
        "Sample",
        (),
        {"INPUT_TYPES": classmethod(lambda cls: inputs or {}), "RETURN_TYPES": (), "FUNCTION": "run", **attributes},
    )


def input_of(entry, kind="required"):
    return describe("Sample", node_of({kind: {"x": entry}})).inputs[0]


def test_defaults_of_a_bare_class():
    definition = describe("Sample", node_of())
    assert definition == NodeDef(name="Sample", display_name="Sample", category="sd", inputs=(), outputs=())


def test_inputs_come_in_order_with_their_kinds():
    cls = node_of(
        {"optional": {"c": ("INT",)}, "required": {"a": ("INT",), "b": ("INT",)}, "hidden": {"id": "UNIQUE_ID"}}
    )
    found = [(item.name, item.kind, item.type) for item in describe("Sample", cls).inputs]
    assert found == [
        ("a", "required", "INT"), ("b", "required", "INT"), ("c", "optional", "INT"), ("id", "hidden", "UNIQUE_ID"),
    ]  # fmt: skip


def test_options_that_the_engine_reads():
    item = input_of(("INT", {"min": 1, "max": 9, "lazy": True, "rawLink": True, "default": 2}))
    assert (item.minimum, item.maximum, item.lazy, item.raw_link) == (1, 9, True, True)
    assert json.loads(item.options_json) == {"min": 1, "max": 9, "lazy": True, "rawLink": True, "default": 2}


@pytest.mark.parametrize(("entry", "options"), [(("INT",), None), (("INT", {}), "{}"), ("INT", None)])
def test_whether_options_were_given_is_kept(entry, options):
    assert input_of(entry).options_json == options


def test_limits_beyond_64_bits_still_fit_into_a_message():
    item = input_of(("INT", {"min": -(10**30), "max": 2**64 - 1}))
    assert (item.minimum, item.maximum) == (-1e30, 2**64 - 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(item), type=InputDef) == item


def test_a_list_of_choices():
    item = input_of((["a", 1, 1.5, True, None],))
    assert (item.type, item.bare_choices, item.choices) == (
        "COMBO",
        True,
        FixedChoices(values=("a", 1, 1.5, True, None)),
    )


def test_the_newer_form_of_choices():
    item = input_of(("COMBO", {"options": ["a", "b"]}))
    assert (item.type, item.bare_choices, item.choices) == ("COMBO", False, FixedChoices(values=("a", "b")))


def test_choices_that_only_the_client_knows():
    assert input_of(("COMBO", {"remote": {"route": "/x"}})).choices is None


def test_a_list_of_files_stays_live():
    files = FileList(FileChoices(source="loras"))
    around = ["None"] + files  # noqa: RUF005  # packs write it so
    assert input_of((around,)).choices == FileChoices(source="loras", before=("None",))
    item = input_of(("COMBO", {"options": files}))
    assert item.choices == FileChoices(source="loras")
    assert "$files" in item.options_json


def test_outputs():
    cls = node_of(
        RETURN_TYPES=("IMAGE", ["x", "y"], "INT"),
        RETURN_NAMES=("picture", "choice"),
        OUTPUT_IS_LIST=(True, False),
        OUTPUT_TOOLTIPS=("see",),
    )
    assert describe("Sample", cls).outputs == (
        OutputDef(name="picture", type="IMAGE", is_list=True, tooltip="see"),
        OutputDef(name="choice", type="COMBO", choices=FixedChoices(values=("x", "y"))),
        OutputDef(name="INT", type="INT"),
    )


@pytest.mark.parametrize(("value", "counts"), [(True, True), (1, False), ("yes", False)])
def test_only_true_makes_an_output_node(value, counts):
    assert describe("Sample", node_of(OUTPUT_NODE=value)).is_output is counts


def test_flags_of_the_class():
    async def run(self):
        return ()

    definition = describe(
        "Sample",
        node_of(
            run=run, INPUT_IS_LIST=(True,), IS_CHANGED=classmethod(lambda cls: 1), check_lazy_status=lambda self: [],
            NOT_IDEMPOTENT=True, DEPRECATED=True, EXPERIMENTAL=True, API_NODE=True, CATEGORY="c", DESCRIPTION="d",
        ),
        display_name="Shown",
        pack="custom_nodes.x",
    )  # fmt: skip
    assert (definition.is_async, definition.takes_lists, definition.has_fingerprint, definition.has_lazy_check) == (
        True,
    ) * 4
    assert (definition.not_idempotent, definition.deprecated, definition.experimental, definition.api_node) == (
        True,
    ) * 4
    assert (definition.category, definition.description, definition.display_name, definition.pack) == (
        "c", "d", "Shown", "custom_nodes.x",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("validator", "names"),
    [
        (classmethod(lambda cls: True), None),
        (classmethod(lambda cls, a, b=1: True), ("a", "b")),
        (lambda a: True, ("a",)),
        (classmethod(lambda cls, a, **kwargs: True), ("a", "**")),
    ],
)
def test_what_the_classes_own_check_takes(validator, names):
    assert describe("Sample", node_of(VALIDATE_INPUTS=validator)).validator_inputs == names


def test_declared_file_checks_stand_for_the_check_written_beside_them():
    cls = node_of(
        {"required": {"image": ("STRING",)}}, FILE_CHECKS={"image": "image"}, VALIDATE_INPUTS=lambda image: True
    )
    definition = describe("Sample", cls)
    assert (definition.inputs[0].file_check, definition.validator_inputs) == ("image", None)


def test_a_subclass_with_a_check_of_its_own_is_asked():
    base = node_of({"required": {"image": ("STRING",)}}, FILE_CHECKS={"image": "image"})
    derived = type("Derived", (base,), {"VALIDATE_INPUTS": lambda image: True})
    assert describe("Derived", derived).validator_inputs == ("image",)


def test_a_class_without_inputs_declared_is_no_node():
    with pytest.raises(TypeError, match="INPUT_TYPES"):
        describe("Sample", object)


def test_a_definition_crosses_processes():
    cls = node_of({"required": {"x": (["a"], {"default": "a"}), "y": (FileList(FileChoices(source="vae")),)}})
    definition = describe("Sample", cls)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(definition), type=NodeDef) == definition


@pytest.mark.parametrize("section", ["required", "optional", "hidden"])
def test_a_section_that_claims_every_name_lets_undeclared_inputs_in(section: str) -> None:
    class Every(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            return True

    class Node:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, object]:
            return {section: Every()}

    assert describe("Node", Node).open_inputs


def test_open_section_tells_of_names_that_are_not_written_in_it() -> None:
    class Every(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            return True

        def __missing__(self, key: str) -> object:
            return ("*", {"lazy": True})

    class Node:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, object]:
            return {"required": {"a": ("INT", {})}, "optional": Every({"b": ("INT", {})})}

    definition = describe("Node", Node)
    assert [definition.told(name).lazy for name in ("a", "b", "c")] == [False, False, True]


def test_open_section_that_cannot_tell_of_other_names_is_fine() -> None:
    class Silent(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            return True

    class Node:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, object]:
            return {"hidden": Silent()}

    assert not describe("Node", Node).told("x").lazy
