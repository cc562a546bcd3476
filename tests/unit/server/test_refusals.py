"""What the log says of a refused prompt."""

from __future__ import annotations

import logging

import pytest

from executor.contract.definition import FileChoices, FixedChoices, InputDef, NodeDef
from executor.files import Folders
from executor.graph.prompt import Prompt
from executor.graph.validate import validate
from executor.settings import Settings
from server.refusals import LONGEST_LINE, one_line, refusal_lines

LONG = tuple(f"word{number}" for number in range(30))
NODES = {
    "Choose": NodeDef(
        name="Choose",
        display_name="Choose",
        category="test",
        inputs=(
            InputDef(name="word", type="COMBO", kind="optional", choices=FixedChoices(values=LONG), bare_choices=True),
            InputDef(name="lora", type="COMBO", kind="optional", choices=FileChoices(source="loras")),
            InputDef(name="image", type="COMBO", kind="optional", file_check="image"),
        ),
        outputs=(),
        is_output=True,
    )
}


@pytest.fixture
def folders(tmp_path):
    here = Folders(Settings(base_directory=tmp_path))
    here.create()
    return here


async def lines(folders, **inputs):
    prompt = Prompt.parse({"7": {"class_type": "Choose", "inputs": inputs}}, NODES)
    verdict = await validate(prompt, NODES, folders)
    return list(refusal_lines(verdict.node_errors, prompt, NODES, folders))


async def test_line_names_node_class_and_input(folders):
    (line,) = await lines(folders, lora="x")
    assert line.startswith("node 7 (Choose): Value not in list: lora: 'x'")


async def test_the_suggestion_of_a_long_list_is_not_said_twice(folders):
    (line,) = await lines(folders, word="wort7")
    assert line.endswith("'wort7' not in (list of length 30); did you mean 'word7'?")


async def test_suggestion_of_a_short_list_is_not_said_twice(folders):
    loras = folders.paths("loras")[0]
    loras.mkdir(parents=True, exist_ok=True)
    (loras / "ink.safetensors").touch()
    (line,) = await lines(folders, lora="inc.safetensors")
    assert line.count("did you mean") == 1


@pytest.mark.parametrize(("root", "suffix"), [("input", ""), ("output", " [output]")])
async def test_missing_picture_suggests_a_file_of_its_folder(folders, root, suffix):
    (folders.root(root) / "house.png").touch()
    (line,) = await lines(folders, image=f"hose.png{suffix}")
    assert line.endswith("did you mean 'house.png'?")


def test_clients_text_stays_on_one_line():
    assert one_line("a\n12:00 INFO forged\x1b[2J") == "a 12:00 INFO forged [2J"
    assert len(one_line("x" * 5000)) == LONGEST_LINE + len(" ...")


async def test_refused_prompt_is_explained_in_the_log(stand, caplog):
    graph = {"1": {"class_type": "Source", "inputs": {"width": 900}}, "2": {"class_type": "Sink", "inputs": {}}}
    graph["2"]["inputs"]["image"] = ["1", 0]
    with caplog.at_level(logging.WARNING, "weft.front"):
        await stand.post("/prompt", json={"prompt": graph})
    assert "node 1 (Source): Value 900 bigger than max of 64: width" in caplog.messages
