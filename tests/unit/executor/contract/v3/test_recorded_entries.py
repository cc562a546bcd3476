"""V3 classes rebuilt from recorded listings are listed as recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.contract import wire
from executor.contract.describe import describe
from executor.contract.v3 import io
from executor.contract.v3.sockets import ComfyTypeI
from executor.files import Folders
from executor.settings import Settings

RECORDED = json.loads((Path(__file__).parents[4] / "data" / "object_info_v3.json").read_text())

TYPES = {
    kind.io_type: kind
    for kind in vars(io).values()
    if isinstance(kind, type) and issubclass(kind, ComfyTypeI) and kind is not io.MultiCombo
}
RENAMED = {"dynamicPrompts": "dynamic_prompts", "display": "display_mode", "forceInput": "force_input"}
OWN_WORDS = {"description", "output_tooltips"}


def rebuilt_input(name: str, written: list[object], *, optional: bool) -> io.Input:
    """An input of the class for its type, given the recorded options as arguments."""
    kind, options = written
    arguments = {RENAMED.get(key, key): value for key, value in options.items()}
    if kind == "COMBO":
        assert arguments.pop("multiselect") is False
        if arguments.pop("video_upload", False):
            arguments["upload"] = io.UploadType.video
    return TYPES.get(kind, io.Custom(kind)).Input(name, optional=optional, **arguments)


def rebuilt(entry: dict[str, object]) -> type[io.ComfyNode]:
    """A node class with the inputs, outputs and nature of a recorded entry."""
    inputs = [
        rebuilt_input(name, entry["input"][section][name], optional=section == "optional")
        for section in ("required", "optional")
        for name in entry["input_order"].get(section, [])
    ]
    outputs = [
        TYPES.get(kind, io.Custom(kind)).Output(display_name=None if name == kind else name, is_output_list=is_list)
        for kind, name, is_list in zip(entry["output"], entry["output_name"], entry["output_is_list"], strict=True)
    ]

    class Rebuilt(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(
                node_id=entry["name"],
                display_name=entry["display_name"],
                category=entry["category"],
                inputs=inputs,
                outputs=outputs,
                is_output_node=entry["output_node"],
                is_deprecated=entry["deprecated"],
                is_experimental=entry["experimental"],
                is_api_node=entry["api_node"],
            )

        @classmethod
        def execute(cls, **inputs):
            return io.NodeOutput()

    return Rebuilt


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_entry_equals_the_recording(name, tmp_path):
    recorded = RECORDED[name]
    cls = rebuilt(recorded)
    definition = describe(name, cls, pack=recorded["python_module"])
    entry = wire.render(wire.template(definition, cls), Folders(Settings(base_directory=tmp_path)))
    assert json.loads(json.dumps({key: value for key, value in entry.items() if key not in OWN_WORDS})) == recorded


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_definition_has_the_recorded_inputs_in_order(name):
    order = RECORDED[name]["input_order"]
    definition = describe(name, rebuilt(RECORDED[name]))
    assert [(item.kind, item.name) for item in definition.inputs] == [
        (section, item) for section in ("required", "optional", "hidden") for item in order.get(section, [])
    ]


def test_every_kind_of_recorded_type_has_a_class():
    seen = {
        entry[0]
        for info in RECORDED.values()
        for part in ("required", "optional")
        for entry in info["input"].get(part, {}).values()
    }
    assert seen - set(TYPES) == set()
