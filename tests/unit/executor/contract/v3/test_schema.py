"""Schemas: what they fill in, refuse and list (reference/execution.md section 14)."""

from __future__ import annotations

from enum import Enum

import pytest

from executor.contract import wire
from executor.contract.definition import FileChoices
from executor.contract.describe import describe
from executor.contract.types import FileList
from executor.contract.v3 import io
from tests.unit.executor.contract.v3.schemas import nothing, v3_class


def listed(cls):
    return wire.template(describe("Node", cls, pack="custom_nodes.x"), cls)


def options_of(item: io.Input) -> dict[str, object]:
    return item.as_dict()


def test_output_node_is_told_the_prompt():
    cls = v3_class("Node", nothing, is_output_node=True)
    assert listed(cls)["input"]["hidden"] == {"prompt": ["PROMPT"], "extra_pnginfo": ["EXTRA_PNGINFO"]}


def test_api_node_is_told_the_keys_before_the_prompt():
    cls = v3_class("Node", nothing, is_output_node=True, is_api_node=True)
    assert list(listed(cls)["input"]["hidden"]) == [
        "auth_token_comfy_org", "api_key_comfy_org", "prompt", "extra_pnginfo"
    ]  # fmt: skip


def test_hidden_asked_for_twice_stands_once():
    cls = v3_class("Node", nothing, is_output_node=True, hidden=[io.Hidden.prompt, io.Hidden.unique_id])
    assert list(listed(cls)["input"]["hidden"]) == ["prompt", "unique_id", "extra_pnginfo"]


def test_output_without_id_gets_one():
    cls = v3_class("Node", nothing, outputs=[io.Int.Output(), io.Image.Output("picture")])
    assert [output.id for output in cls.GET_SCHEMA().outputs] == ["_0_INT_", "picture"]


def test_output_is_named_by_display_name_then_id_then_type():
    outputs = [io.Int.Output("a", "Shown"), io.Int.Output("a2"), io.Int.Output()]
    assert listed(v3_class("Node", nothing, outputs=outputs))["output_name"] == ["Shown", "a2", "INT"]


def test_combo_output_is_of_type_combo():
    cls = v3_class("Node", nothing, outputs=[io.Combo.Output(options=["a", "b"])])
    assert listed(cls)["output"] == ["COMBO"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "what"),
    [
        ([io.Int.Input("a"), io.Int.Input("a")], [], "inputs"),
        ([], [io.Int.Output("a"), io.Int.Output("a")], "outputs"),
    ],
)
def test_ids_are_unique(inputs, outputs, what):
    with pytest.raises(ValueError, match=f"two {what} with one id: a"):
        v3_class("Node", nothing, inputs, outputs).GET_SCHEMA()


@pytest.mark.parametrize(
    ("inputs", "outputs", "where"),
    [([io.Int.Input("a"), io.Int], [], r"inputs\[1\]"), ([], ["INT"], r"outputs\[0\] is 'INT'")],
)
def test_what_is_no_input_or_output_is_named(inputs, outputs, where):
    with pytest.raises(TypeError, match=where):
        v3_class("Node", nothing, inputs, outputs).GET_SCHEMA()


def test_input_and_output_may_share_an_id():
    assert v3_class("Node", nothing, [io.Image.Input("image")], [io.Image.Output("image")]).GET_SCHEMA()


def test_v1_attributes_follow_from_the_schema():
    cls = v3_class(
        "Node", nothing, [io.Int.Input("a"), io.Image.Input("b", optional=True)],
        [io.Int.Output(tooltip="why", is_output_list=True)], category="c", description="d", is_input_list=True,
        is_deprecated=True, is_experimental=True, not_idempotent=True, is_output_node=True,
    )  # fmt: skip
    assert cls.INPUT_TYPES()["required"] == {"a": ("INT", {})}
    assert cls.INPUT_TYPES()["optional"] == {"b": ("IMAGE", {})}
    assert (cls.RETURN_TYPES, cls.RETURN_NAMES, cls.OUTPUT_IS_LIST) == (("INT",), ("INT",), (True,))
    assert (cls.OUTPUT_TOOLTIPS, cls.CATEGORY, cls.DESCRIPTION) == (("why",), "c", "d")
    assert cls.INPUT_IS_LIST is cls.DEPRECATED is cls.EXPERIMENTAL is cls.NOT_IDEMPOTENT is cls.OUTPUT_NODE is True
    assert cls.API_NODE is False


def test_checks_are_there_only_when_the_node_defines_them():
    bare, checked = v3_class("Node", nothing), v3_class("Node", nothing, validate_inputs=lambda cls, a: True)
    assert not hasattr(bare, "VALIDATE_INPUTS")
    assert not hasattr(bare, "IS_CHANGED")
    assert describe("Node", bare).validator_inputs is None
    assert describe("Node", bare).has_lazy_check is False
    assert describe("Node", checked).validator_inputs == ("a",)


def test_override_of_a_base_class_counts():
    base = v3_class("Base", nothing, fingerprint_inputs=lambda cls: 1, check_lazy_status=lambda cls: [])
    child = type(base)("Child", (base,), {})
    assert describe("Child", child).has_fingerprint
    assert describe("Child", child).has_lazy_check


def test_async_execute_makes_an_async_node():
    async def execute(cls):
        return io.NodeOutput()

    assert describe("Node", v3_class("Node", execute)).is_async


def test_display_name_is_null_where_the_schema_has_none():
    assert listed(v3_class("Node", nothing))["display_name"] is None
    assert listed(v3_class("Node", nothing, display_name="Shown"))["display_name"] == "Shown"


def test_newer_fields_are_listed_when_set():
    entry = listed(v3_class("Node", nothing, search_aliases=["other"], is_dev_only=True))
    assert entry["search_aliases"] == ["other"]
    assert entry["dev_only"] is True
    assert "search_aliases" not in listed(v3_class("Node", nothing))


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


REMOTE = io.RemoteOptions(route="/x", refresh_button=True, timeout=5)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (io.Image.Input("a"), {}),
        (io.Image.Input("a", "A", tooltip="t", lazy=True, raw_link=True, advanced=True, extra_dict={"x": 1, "y": None}),
         {"display_name": "A", "tooltip": "t", "lazy": True, "rawLink": True, "advanced": True, "x": 1}),
        (io.Int.Input("a", default=0, min=1, max=2, step=3, control_after_generate=True,
                      display_mode=io.NumberDisplay.slider),
         {"default": 0, "min": 1, "max": 2, "step": 3, "control_after_generate": True, "display": "slider"}),
        (io.Int.Input("a", control_after_generate=io.ControlAfterGenerate.randomize),
         {"control_after_generate": "randomize"}),
        (io.Float.Input("a", default=0.5, round=False, force_input=True, socketless=False),
         {"default": 0.5, "round": False, "forceInput": True, "socketless": False}),
        (io.Boolean.Input("a", default=False, label_on="on", label_off="off"),
         {"default": False, "label_on": "on", "label_off": "off"}),
        (io.String.Input("a"), {"multiline": False}),
        (io.String.Input("a", multiline=True, placeholder="p", dynamic_prompts=True),
         {"multiline": True, "placeholder": "p", "dynamicPrompts": True}),
        (io.Combo.Input("a", options=["x", "y"], default="x"),
         {"multiselect": False, "options": ["x", "y"], "default": "x"}),
        (io.Combo.Input("a", options=Size, default=Size.LARGE),
         {"multiselect": False, "options": ["small", "large"], "default": "large"}),
        (io.Combo.Input("a", upload=io.UploadType.image, image_folder=io.FolderType.output, remote=REMOTE),
         {"multiselect": False, "image_upload": True, "image_folder": "output",
          "remote": {"route": "/x", "refresh_button": True, "control_after_refresh": "first", "timeout": 5}}),
        (io.MultiCombo.Input("a", options=["x"], default=["x"], placeholder="p", chip=True),
         {"multiselect": True, "options": ["x"], "default": ["x"], "multi_select": True, "placeholder": "p",
          "chip": True}),
    ],
)  # fmt: skip
def test_options_are_listed_by_their_names(item, expected):
    assert options_of(item) == expected


def test_union_lists_its_members_once():
    item = io.MultiType.Input("a", types=[io.Int, io.Float, io.Int])
    assert item.get_io_type() == "INT,FLOAT"


def test_union_of_a_widget_keeps_the_widget():
    item = io.MultiType.Input(io.Int.Input("a", default=3, optional=True), types=[io.Float])
    assert (item.id, item.optional, item.get_io_type()) == ("a", True, "INT,FLOAT")
    assert item.as_dict() == {"default": 3, "widgetType": "INT"}


def test_custom_type_has_its_name():
    kind = io.Custom("MY_THING")
    assert kind.Input("a").get_io_type() == kind.Output().get_io_type() == "MY_THING"


def test_decorated_class_is_a_type():
    @io.comfytype(io_type="DECORATED")
    class Mine:
        Type = int

        class Input(io.WidgetInput):
            pass

    assert Mine.Input("a", default=1).get_io_type() == "DECORATED"
    assert Mine.Output().get_io_type() == "DECORATED"


def test_types_do_not_share_their_inputs():
    kind = io.Custom("OTHER")
    assert io.Image.Input("a").get_io_type() == "IMAGE"
    assert kind.Input is not io.Image.Input


def test_file_list_stays_one():
    files = FileList(FileChoices(source="loras"), ["a"])
    definition = describe("Node", v3_class("Node", nothing, [io.Combo.Input("a", options=files)]))
    assert definition.inputs[0].choices == FileChoices(source="loras")


def test_matching_outputs_are_listed_by_template():
    template = io.MatchType.Template("t", allowed_types=[io.Image, io.Mask])
    entry = listed(
        v3_class("Node", nothing, [io.MatchType.Input("a", template=template)],
                 [io.MatchType.Output(template=template, id="b"), io.Int.Output()])
    )  # fmt: skip
    assert entry["input"]["required"]["a"] == [
        "COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "IMAGE,MASK"}}
    ]  # fmt: skip
    assert entry["output_matchtypes"] == ["t", None]
    assert "output_matchtypes" not in listed(v3_class("Node", nothing))


def test_growing_input_lists_its_template_as_a_socket():
    template = io.Autogrow.TemplatePrefix(io.Int.Input("n", default=1), prefix="n", min=2, max=4)
    entry = listed(v3_class("Node", nothing, [io.Autogrow.Input("numbers", template=template)]))
    assert entry["input"]["required"]["numbers"] == [
        "COMFY_AUTOGROW_V3",
        {"template": {"input": {"required": {"n": ["INT", {"default": 1, "forceInput": True}]}},
                      "prefix": "n", "min": 2, "max": 4}},
    ]  # fmt: skip


def test_growing_input_lists_its_names():
    template = io.Autogrow.TemplateNames(io.Image.Input("i"), names=["left", "right"], min=0)
    assert template.as_dict() == {
        "input": {"required": {"i": ("IMAGE", {})}}, "names": ["left", "right"], "min": 0
    }  # fmt: skip


def test_growing_input_has_at_most_a_hundred_names():
    with pytest.raises(ValueError, match="at most 100"):
        io.Autogrow.TemplatePrefix(io.Image.Input("i"), prefix="i", max=101)


def test_choice_lists_what_each_option_brings():
    options = [io.DynamicCombo.Option("a", [io.Int.Input("n", optional=True)]), io.DynamicCombo.Option("b", [])]
    entry = listed(v3_class("Node", nothing, [io.DynamicCombo.Input("mode", options=options)]))
    assert entry["input"]["required"]["mode"] == [
        "COMFY_DYNAMICCOMBO_V3",
        {"options": [{"key": "a", "inputs": {"required": {}, "optional": {"n": ["INT", {}]}}},
                     {"key": "b", "inputs": {"required": {}}}]},
    ]  # fmt: skip


def test_slot_is_listed_as_optional():
    slot = io.DynamicSlot.Input(io.Image.Input("image"), inputs=[io.Int.Input("n")])
    entry = listed(v3_class("Node", nothing, [slot]))
    assert entry["input"]["optional"]["image"][0] == "COMFY_DYNAMICSLOT_V3"
    assert entry["input"]["optional"]["image"][1]["inputs"] == {"required": {"n": ["INT", {}]}}
