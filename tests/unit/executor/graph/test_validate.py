"""Validation: what is refused, in which words (reference/execution.md section 2, http_api.md section 3)."""

import asyncio

import pytest

from executor.contract.definition import FileChoices, NodeDef
from executor.contract.types import FileList
from executor.contract.v1 import describe
from executor.errors import InvalidPrompt
from executor.files import Folders
from executor.graph.prompt import Prompt, is_link, prompt_of
from executor.graph.validate import validate
from executor.settings import Settings
from tests.unit.executor.graph.harness import node, node_class


class Any(str):
    def __ne__(self, other):
        return False


def nothing(self, **inputs):
    return ()


FILES = FileList(FileChoices(source="input"))
SIZE = ("INT", {"default": 512, "min": 1, "max": 16384})
CLASSES = [
    node_class("EmptyImage", nothing, {"width": SIZE, "height": SIZE}, returns=("IMAGE",)),
    node_class("Invert", nothing, {"image": ("IMAGE",)}, returns=("IMAGE",)),
    node_class("Scale", nothing, {"image": ("IMAGE",), "method": (["nearest", "area"],)}, returns=("IMAGE",)),
    node_class("Save", nothing, {"images": ("IMAGE", {}), "prefix": ("STRING", {"default": "x"})}, output=True),
    node_class("Preview", nothing, {"images": ("IMAGE",)}, output=True, returns=()),
    node_class("Any", nothing, {"source": (Any("*"), {})}, output=True, returns=()),
    node_class("Mask", nothing, returns=("MASK",)),
    node_class("Wild", nothing, returns=(Any("*"),)),
    node_class("Choice", nothing, returns=(["nearest", "area"],)),
    node_class("Number", nothing, {"value": ("FLOAT", {"max": 5})}, output=True),
    node_class("Text", nothing, {"value": ("STRING",)}, output=True),
    node_class("Flag", nothing, {"value": ("BOOLEAN",)}, output=True),
    node_class("Long", nothing, {"value": ([f"c{i}" for i in range(21)],)}, output=True),
    node_class("New", nothing, {"value": ("COMBO", {"options": ["a", "b"]})}, output=True),
    node_class("Load", nothing, {"image": (FILES,)}, output=True, FILE_CHECKS={"image": "image"}),
    node_class("Model", nothing, {"name": (FileList(FileChoices(source="loras")),)}, output=True, RELATIVE="x"),
    node_class(
        "Checked", nothing, {"a": ("INT", {"max": 1}), "?b": ("INT", {"max": 1}), "?image": ("IMAGE",)}, output=True,
        VALIDATE_INPUTS=classmethod(lambda cls, a: True),
    ),
    node_class(
        "Judge", nothing, {"?image": ("IMAGE",)}, output=True,
        VALIDATE_INPUTS=classmethod(lambda cls, input_types, image: True),
    ),
    node_class(
        "All", nothing, {"?a": ("INT", {"max": 1})}, output=True, VALIDATE_INPUTS=classmethod(lambda cls, **k: True)
    ),
]  # fmt: skip
DEFINITIONS: dict[str, NodeDef] = {cls.__name__: describe(cls.__name__, cls) for cls in CLASSES}
IMAGE = node("EmptyImage", width=8, height=8)


@pytest.fixture
def folders(tmp_path):
    for name in ("models/loras", "input/sub", "output"):
        (tmp_path / name).mkdir(parents=True)
    return Folders(Settings(base_directory=tmp_path))


@pytest.fixture
def judge(folders):
    """Validates a prompt given as nodes."""

    def run(prompt, **more):
        return asyncio.run(validate(Prompt.parse(prompt, DEFINITIONS), DEFINITIONS, folders, **more))

    return run


def refusal(prompt):
    with pytest.raises(InvalidPrompt) as caught:
        Prompt.parse(prompt, DEFINITIONS)
    return caught.value.error


def errors_at(verdict, node_id):
    return verdict.node_errors[node_id]["errors"]


def only_error(verdict, node_id):
    (error,) = errors_at(verdict, node_id)
    return error


# ---------------------------------------------------------------- parsing


def test_a_body_without_a_prompt():
    with pytest.raises(InvalidPrompt) as caught:
        prompt_of({})
    assert caught.value.body() == {
        "error": {
            "type": "no_prompt",
            "message": "No prompt provided",
            "details": "No prompt provided",
            "extra_info": {},
        },
        "node_errors": {},
    }


def test_a_node_without_a_class():
    assert refusal({"1": {"inputs": {}}}) == {
        "type": "invalid_prompt",
        "message": "Cannot execute because a node is missing the class_type property.",
        "details": "Node ID '#1'",
        "extra_info": {},
    }


def test_an_unknown_class_even_where_no_output_needs_it():
    error = refusal({"1": IMAGE, "7": node("qqqq")})
    assert (error["type"], error["details"]) == ("invalid_prompt", "Node ID '#7'")
    assert error["message"] == "Cannot execute because node qqqq does not exist."


def test_an_unknown_class_with_a_neighbour_is_told_it():
    error = refusal({"1": node("EmtyImage")})
    assert error["message"] == "Cannot execute because node EmtyImage does not exist. Did you mean EmptyImage?"


@pytest.mark.parametrize(
    "prompt", [[1], None, "x", 5, {"1": 3}, {"1": {"class_type": 3}}, {"1": {"class_type": "Mask", "inputs": [1]}}]
)
def test_malformed_prompts_are_refused(prompt):
    assert refusal(prompt)["type"] == "invalid_prompt"


@pytest.mark.parametrize(
    ("value", "links"),
    [
        (["1", 0], True),
        (["1", 0.0], True),
        ([1, 0], False),
        (["1"], False),
        (["1", "0"], False),
        (["1", True], False),
        (["1", float("inf")], False),
        ({"__value__": ["1", 0]}, False),
    ],
)
def test_what_is_a_link(value, links):
    assert is_link(value) is links


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("targets", [None, [], ["99"], ["1"]])
def test_no_outputs(judge, targets):
    prompt = {"1": IMAGE} if targets is None else {"1": IMAGE, "2": node("Preview", images=("1", 0))}
    verdict = judge(prompt, targets=targets)
    assert verdict.error == {
        "type": "prompt_no_outputs",
        "message": "Prompt has no outputs",
        "details": "",
        "extra_info": {},
    }


def test_good_outputs_come_in_prompt_order(judge):
    verdict = judge({"9": node("Preview", images=("1", 0)), "1": IMAGE, "2": node("Preview", images=("1", 0))})
    assert (verdict.targets, verdict.error, verdict.node_errors) == (("9", "2"), None, {})


def test_targets_limit_the_outputs_and_others_are_ignored(judge):
    prompt = {"1": IMAGE, "2": node("Preview", images=("1", 0)), "3": node("Preview", images=("1", 0))}
    assert judge(prompt, targets=["3", "1", "77"]).targets == ("3",)


def test_nodes_that_no_output_needs_are_not_checked(judge):
    verdict = judge({"1": IMAGE, "2": node("Preview", images=("1", 0)), "8": node("Invert")})
    assert verdict.node_errors == {}


def test_bad_outputs_are_dropped_and_told_beside_good_ones(judge):
    verdict = judge({
        "1": IMAGE,
        "2": node("Save", images=("1", 0), prefix="p"),
        "5": node("Invert"),
        "6": node("Save", images=("5", 0), prefix="p"),
        "7": node("Preview", images=("5", 0)),
    })  # fmt: skip
    assert (verdict.targets, verdict.error) == (("2",), None)
    assert verdict.node_errors == {
        "5": {
            "errors": [
                {
                    "type": "required_input_missing",
                    "message": "Required input is missing",
                    "details": "image",
                    "extra_info": {"input_name": "image"},
                }
            ],
            "dependent_outputs": ["6", "7"],
            "class_type": "Invert",
        }
    }


def test_the_details_name_the_outputs_own_errors_only(judge):
    verdict = judge({
        "1": node("EmptyImage", width=0, height=8),
        "2": node("Save", images=("1", 0), prefix="p"),
        "4": node("Save", prefix="x"),
    })  # fmt: skip
    assert verdict.error == {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "Required input is missing: images",
        "extra_info": {},
    }
    assert verdict.node_errors["1"]["dependent_outputs"] == ["2"]
    assert verdict.node_errors["4"]["dependent_outputs"] == ["4"]


def test_require_good_raises_the_body_of_the_refusal(judge):
    verdict = judge({"4": node("Save", prefix="x")})
    with pytest.raises(InvalidPrompt) as caught:
        verdict.require_good()
    assert caught.value.body() == {"error": verdict.error, "node_errors": verdict.node_errors}


# ---------------------------------------------------------------- links


@pytest.mark.parametrize("link", [["1"], ["1", 0, 0], []])
def test_a_list_that_is_no_link(judge, link):
    verdict = judge({"1": IMAGE, "2": node("Save", images=link, prefix="x")})
    assert only_error(verdict, "2") == {
        "type": "bad_linked_input",
        "message": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        "details": "images",
        "extra_info": {"input_name": "images", "input_config": ["IMAGE", {}], "received_value": link},
    }


def test_types_that_do_not_match(judge):
    verdict = judge({"1": node("Mask"), "2": node("Save", images=("1", 0), prefix="x")})
    assert only_error(verdict, "2") == {
        "type": "return_type_mismatch",
        "message": "Return type mismatch between linked nodes",
        "details": "images, received_type(MASK) mismatch input_type(IMAGE)",
        "extra_info": {
            "input_name": "images",
            "input_config": ["IMAGE", {}],
            "received_type": "MASK",
            "linked_node": ["1", 0],
        },
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (node("Wild"), node("Preview", images=("1", 0))),
        (node("Mask"), node("Any", source=("1", 0))),
        (node("Choice"), node("Scale", image=("img", 0), method=("1", 0))),
        (node("Choice"), node("New", value=("1", 0))),
        (node("Wild"), node("Scale", image=("img", 0), method=("1", 0))),
    ],
)
def test_types_that_match_by_the_wider_rules(judge, source, target):
    prompt = {"img": IMAGE, "1": source, "2": target, "3": node("Any", source=("2", 0))}
    if target["class_type"] != "Scale":
        del prompt["3"]
    assert judge(prompt).node_errors == {}


def test_a_list_of_choices_only_takes_an_equal_list(judge):
    prompt = {"1": node("Text", value="x"), "m": node("Mask"), "2": node("Long", value=("m", 0))}
    assert only_error(judge(prompt), "2")["type"] == "return_type_mismatch"
    prompt["2"] = node("Long", value=("c", 0))
    prompt["c"] = node("Choice")
    assert only_error(judge(prompt), "2")["type"] == "return_type_mismatch"


@pytest.mark.parametrize(
    ("link", "kind"),
    [(["99", 0], "KeyError"), (["1", 5], "IndexError"), (["1", 0.0], "TypeError"), ([1, 0], "KeyError")],
)
def test_a_link_to_nowhere_at_an_output(judge, link, kind):
    error = only_error(judge({"1": IMAGE, "2": node("Save", images=link, prefix="x")}), "2")
    assert (error["type"], error["message"]) == ("exception_during_validation", "Exception when validating node")
    assert error["extra_info"]["exception_type"] == kind
    assert set(error["extra_info"]) == {"exception_type", "traceback"}


def test_a_negative_slot_counts_from_the_end(judge):
    assert judge({"1": IMAGE, "2": node("Preview", images=("1", -1))}).node_errors == {}


def test_a_link_to_nowhere_further_up(judge):
    verdict = judge({"1": node("Invert", image=("99", 0)), "2": node("Save", images=("1", 0), prefix="x")})
    error = only_error(verdict, "1")
    traceback = error["extra_info"].pop("traceback")
    assert all(isinstance(line, str) for line in traceback)
    assert error == {
        "type": "exception_during_inner_validation",
        "message": "Exception when validating inner node",
        "details": "there is no node '99' to link to",
        "extra_info": {
            "input_name": "images",
            "input_config": ["IMAGE", {}],
            "exception_message": "there is no node '99' to link to",
            "exception_type": "KeyError",
            "linked_node": ["1", 0],
        },
    }
    assert verdict.error["details"] == ""


def test_a_linked_node_without_inputs(judge):
    verdict = judge({"1": {"class_type": "EmptyImage"}, "2": node("Save", images=("1", 0), prefix="x")})
    error = only_error(verdict, "1")
    assert (error["type"], error["extra_info"]["exception_type"]) == ("exception_during_inner_validation", "KeyError")


def test_a_loop_names_its_nodes(judge):
    prompt = {
        "1": node("Invert", image=("2", 0)), "2": node("Invert", image=("1", 0)), "3": node("Preview", images=("1", 0)),
    }  # fmt: skip
    verdict = judge(prompt)
    assert (verdict.error["type"], verdict.error["details"]) == ("prompt_outputs_failed_validation", "")
    assert only_error(verdict, "1") == {
        "type": "dependency_cycle",
        "message": "Dependency cycle detected",
        "details": "1 -> 2 -> 1",
        "extra_info": {"node_id": "1", "cycle_nodes": ["1", "2"]},
    }
    assert verdict.node_errors["2"]["dependent_outputs"] == ["3"]


def test_a_node_that_links_itself_is_a_loop(judge):
    verdict = judge({"1": node("Invert", image=("1", 0)), "3": node("Preview", images=("1", 0))})
    assert only_error(verdict, "1")["details"] == "1 -> 1"


def test_ten_thousand_nodes_in_a_row(judge):
    chain = {"0": IMAGE} | {str(i): node("Invert", image=(str(i - 1), 0)) for i in range(1, 10_000)}
    chain["end"] = node("Preview", images=("9999", 0))
    assert judge(chain).targets == ("end",)


def test_a_loop_of_ten_thousand_nodes_makes_a_small_answer(judge):
    chain = {str(i): node("Invert", image=(str((i - 1) % 10_000), 0)) for i in range(10_000)}
    chain["end"] = node("Preview", images=("0", 0))
    verdict = judge(chain)
    assert len(verdict.node_errors["5"]["errors"][0]["extra_info"]["cycle_nodes"]) <= 12


# ---------------------------------------------------------------- literals


@pytest.mark.parametrize(
    ("class_type", "value", "converted"),
    [
        ("EmptyImage", "7", 7),
        ("EmptyImage", 7.9, 7),
        ("EmptyImage", True, 1),
        ("EmptyImage", {"__value__": "7"}, 7),
        ("Number", "2", 2.0),
        ("Number", 3, 3.0),
        ("Text", 5, "5"),
        ("Text", 1.5, "1.5"),
        ("Text", False, "False"),
        ("Text", None, "None"),
        ("Text", {"__value__": ["a", "b"]}, "['a', 'b']"),
        ("Flag", "false", True),
        ("Flag", 0, False),
        ("New", {"__value__": "a"}, "a"),
    ],
)
def test_values_are_converted_in_the_prompt(judge, class_type, value, converted):
    name = "width" if class_type == "EmptyImage" else "value"
    prompt = {"1": node(class_type, **{name: value}) | {"_meta": {"title": "T"}}}
    if class_type == "EmptyImage":
        prompt["1"]["inputs"]["height"] = 8
        prompt["2"] = node("Preview", images=("1", 0))
    verdict = judge(prompt)
    stored = verdict.prompt["1"]["inputs"][name]
    assert (verdict.node_errors, stored, type(stored)) == ({}, converted, type(converted))
    assert verdict.prompt["1"]["_meta"] == {"title": "T"}
    assert prompt["1"]["inputs"][name] == value


def test_undeclared_inputs_are_kept_as_they_are(judge):
    verdict = judge({"1": node("Text", value=3, odd=["1"])})
    assert verdict.prompt["1"]["inputs"] == {"value": "3", "odd": ["1"]}


def test_a_wrapped_list_that_looks_like_a_link_stays_wrapped(judge):
    verdict = judge({"1": node("Any", source={"__value__": ["x", 0]}), "2": node("Any", source={"__value__": ["x"]})})
    assert verdict.prompt["1"]["inputs"]["source"] == {"__value__": ["x", 0]}
    assert verdict.prompt["2"]["inputs"]["source"] == ["x"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", "invalid literal for int() with base 10: 'abc'"),
        ("7.0", "invalid literal for int() with base 10: '7.0'"),
        (float("nan"), "cannot convert float NaN to integer"),
        (float("inf"), "cannot convert float infinity to integer"),
    ],
)
def test_values_that_cannot_be_converted(judge, value, text):
    verdict = judge({"1": node("EmptyImage", width=value, height=8), "2": node("Preview", images=("1", 0))})
    error = only_error(verdict, "1")
    assert (error["type"], error["message"]) == (
        "invalid_input_type",
        "Failed to convert an input value to a INT value",
    )
    assert error["details"] == f"width, {value}, {text}"
    assert error["extra_info"]["exception_message"] == text


def test_null_is_no_number(judge):
    verdict = judge({"1": node("EmptyImage", width=None, height=8), "2": node("Preview", images=("1", 0))})
    assert only_error(verdict, "1")["extra_info"]["received_value"] is None


def test_limits_and_every_error_of_a_node(judge):
    verdict = judge({"1": node("EmptyImage", width=0, height=20000), "2": node("Preview", images=("1", 0))})
    config = ["INT", {"default": 512, "min": 1, "max": 16384}]
    assert errors_at(verdict, "1") == [
        {
            "type": "value_smaller_than_min",
            "message": "Value 0 smaller than min of 1",
            "details": "width",
            "extra_info": {"input_name": "width", "input_config": config, "received_value": 0},
        },
        {
            "type": "value_bigger_than_max",
            "message": "Value 20000 bigger than max of 16384",
            "details": "height",
            "extra_info": {"input_name": "height", "input_config": config, "received_value": 20000},
        },
    ]


def test_a_value_that_is_not_among_the_choices(judge):
    verdict = judge(
        {"1": IMAGE, "2": node("Scale", image=("1", 0), method="magic"), "3": node("Preview", images=("2", 0))}
    )
    assert only_error(verdict, "2") == {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "method: 'magic' not in ['nearest', 'area']",
        "extra_info": {"input_name": "method", "input_config": [["nearest", "area"], {}], "received_value": "magic"},
    }


def test_a_short_list_suggests_the_nearest_choice(judge):
    verdict = judge(
        {"1": IMAGE, "2": node("Scale", image=("1", 0), method="aera"), "3": node("Preview", images=("2", 0))}
    )
    assert only_error(verdict, "2")["details"].endswith("; did you mean 'area'?")


def test_long_lists_are_not_echoed(judge):
    error = only_error(judge({"1": node("Long", value="magic")}), "1")
    assert error["details"] == "value: 'magic' not in (list of length 21)"
    assert error["extra_info"] == {"input_name": "value", "input_config": None, "received_value": "magic"}


def test_a_long_list_suggests_the_nearest_choice_too(judge):
    error = only_error(judge({"1": node("Long", value="c13x")}), "1")
    assert error["details"].endswith("(list of length 21); did you mean 'c13'?")


def test_the_newer_form_of_choices_is_checked_too(judge):
    error = only_error(judge({"1": node("New", value="c")}), "1")
    assert (error["type"], error["extra_info"]["input_config"]) == (
        "value_not_in_list",
        ["COMBO", {"options": ["a", "b"]}],
    )


def test_a_model_file_must_be_there_now(judge, folders):
    missing = judge({"1": node("Model", name="a.safetensors")})
    assert only_error(missing, "1")["extra_info"]["input_config"] == [[], {}]
    (folders.paths("loras")[0] / "a.safetensors").touch()
    assert judge({"1": node("Model", name="a.safetensors")}).error is None


# ---------------------------------------------------------------- files that are named


@pytest.mark.parametrize("name", ["x.png", "sub/y.png", "x.png [input]", "z.png [output]"])
def test_named_files_are_found_in_their_places(judge, folders, name):
    for path in (
        folders.root("input") / "x.png",
        folders.root("input") / "sub/y.png",
        folders.root("output") / "z.png",
    ):
        path.touch()
    assert judge({"1": node("Load", image=name)}).error is None


@pytest.mark.parametrize("name", ["no.png", "no.png [output]", "../secret.png", "sub", "a\x00b"])
def test_named_files_that_are_not_there(judge, name):
    assert only_error(judge({"1": node("Load", image=name)}), "1") == {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": f"image - Invalid image file: {name}",
        "extra_info": {"input_name": "image"},
    }


# ---------------------------------------------------------------- classes' own checks


def asker(results, seen=None):
    async def ask(request):
        if seen is not None:
            seen.append(request)
        return results if isinstance(results, dict) else {"results": results}

    return ask


def test_the_worker_is_asked_with_what_the_check_takes(judge):
    seen = []
    verdict = judge({"1": node("Checked", a="5", b=1)}, ask=asker([True], seen))
    assert verdict.error is None
    assert seen == [{"node_id": "1", "class_type": "Checked", "inputs": {"a": 5}, "linked": [], "received_types": {}}]


def test_inputs_that_the_check_takes_skip_limits_and_others_do_not(judge):
    verdict = judge({"1": node("Checked", a=5, b=5)}, ask=asker([True]))
    assert only_error(verdict, "1")["details"] == "b"


def test_a_check_of_all_inputs_skips_every_limit(judge):
    assert judge({"1": node("All", a=5)}, ask=asker([True])).error is None


@pytest.mark.parametrize(("result", "details"), [(False, "a"), ("too odd", "a - too odd")])
def test_a_check_that_fails(judge, result, details):
    verdict = judge({"1": node("Checked", a=1)}, ask=asker([result]))
    assert only_error(verdict, "1") == {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": details,
        "extra_info": {"input_name": "a"},
    }


def test_a_check_without_any_input_present_is_not_asked(judge):
    seen = []
    judge({"1": node("All")}, ask=asker(["no"], seen))
    assert seen == []


def test_a_check_that_raises(judge):
    told = {"exception": {"type": "ValueError", "message": "boom", "traceback": ["line"]}}
    error = only_error(judge({"1": node("Checked", a=1)}, ask=asker(told)), "1")
    assert (error["type"], error["details"]) == ("exception_during_validation", "boom")
    assert error["extra_info"] == {"exception_type": "ValueError", "traceback": ["line"]}


def test_a_check_that_takes_input_types_decides_about_links(judge):
    seen = []
    verdict = judge({"1": node("Mask"), "2": node("Judge", image=("1", 0))}, ask=asker([True], seen))
    assert verdict.error is None
    assert (seen[0]["inputs"], seen[0]["linked"], seen[0]["received_types"]) == (
        {"image": None}, ["image"], {"image": "MASK"},
    )  # fmt: skip


def test_pack_classes_whose_choice_did_not_match_are_described_anew(folders):
    old = describe("Pick", node_class("Pick", nothing, {"v": (["a"],)}, output=True), pack="custom_nodes.p")
    new = describe("Pick", node_class("Pick", nothing, {"v": (["a", "b"],)}, output=True), pack="custom_nodes.p")
    asked = []

    async def refresh(names):
        asked.extend(names)
        return {"Pick": new}

    prompt = Prompt.parse({"1": node("Pick", v="b")}, {"Pick": old})
    verdict = asyncio.run(validate(prompt, {"Pick": old}, folders, refresh=refresh))
    assert (verdict.error, asked) == (None, ["Pick"])


def test_errors_are_told_up_to_a_number(judge):
    verdict = judge({str(number): node("Preview") for number in range(300)})
    assert len(verdict.node_errors) == 200
    assert verdict.error["details"].count("\n") == 199


def test_outputs_that_depend_on_an_error_are_told_up_to_a_number(judge):
    graph = {"bad": node("EmptyImage"), **{str(number): node("Preview", images=("bad", 0)) for number in range(300)}}
    assert len(judge(graph).node_errors["bad"]["dependent_outputs"]) == 200


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), {"a": [float("nan")]}])
def test_numbers_that_are_none_are_no_values(judge, value):
    graph = {"1": node("EmptyImage", width=8, height=8), "2": node("Preview", images=("1", 0), extra=value)}
    assert judge(graph).error is None  # an input that the class does not have
    graph["1"] = node("EmptyImage", width=value, height=8)
    assert only_error(judge(graph), "1")["type"] == "invalid_input_type"


def test_a_long_value_is_cut_where_it_is_told(judge):
    verdict = judge({"1": node("EmptyImage", width="x" * 100_000, height=8), "2": node("Preview", images=("1", 0))})
    assert len(str(only_error(verdict, "1"))) < 30_000
