"""What classes are asked outside a run: IS_CHANGED and VALIDATE_INPUTS (reference/execution.md sections 2 and 7)."""

import asyncio
import math

import pytest

from executor.context import InterruptFlag, RunContext
from executor.contract.blocker import ExecutionBlocker
from executor.contract.v1 import describe
from executor.errors import Interrupted
from executor.graph.call import Call
from executor.graph.checks import answer, fingerprint
from tests.unit.executor.graph.harness import Table, node, node_class

INPUTS = {"a": ("INT",), "?link": ("IMAGE",), "#me": "UNIQUE_ID", "#prompt": "PROMPT", "#png": "EXTRA_PNGINFO"}


def told(function, given=None, **attributes):
    cls = node_class("Sample", lambda self, **inputs: (), INPUTS, IS_CHANGED=function, **attributes)
    return asyncio.run(fingerprint("5", given or node("Sample", a=1, link=("9", 0)), describe("Sample", cls), cls))


def test_it_sees_literals_and_hidden_values_and_no_links():
    seen = {}
    told(classmethod(lambda cls, **inputs: seen.update(inputs)))
    assert seen == {"a": 1, "link": None, "me": "5", "prompt": {}, "png": None}


def test_it_is_mapped_over_lists():
    assert told(classmethod(lambda cls, **inputs: "x")) == ["x"]


def test_it_may_be_async():
    async def changed(**inputs):
        return 7

    assert told(staticmethod(changed)) == [7]


def test_a_class_without_one_gives_false():
    cls = node_class("Sample", lambda self: ())
    assert asyncio.run(fingerprint("5", node("Sample"), describe("Sample", cls), cls)) is False


def test_one_that_raises_counts_as_changed(caplog):
    result = told(classmethod(lambda cls, **inputs: 1 / 0))
    assert math.isnan(result)
    assert "IS_CHANGED of node 5 failed" in caplog.text


def test_a_blocker_counts_as_none():
    assert told(classmethod(lambda cls, **inputs: ExecutionBlocker())) == [None]


def test_the_clients_own_value_is_taken():
    assert told(classmethod(lambda cls, **inputs: 1), node("Sample", a=1) | {"is_changed": "mine"}) == "mine"


REQUEST = {
    "node_id": "5", "class_type": "Sample", "inputs": {"a": 3, "link": None}, "linked": ["link"],
    "received_types": {"link": "MASK"},
}  # fmt: skip


def answered(validator, request=REQUEST, **attributes):
    cls = node_class("Sample", lambda self, **inputs: (), INPUTS, VALIDATE_INPUTS=validator, **attributes)
    return asyncio.run(answer(Table(cls), request))


@pytest.mark.parametrize(
    ("result", "plain"),
    [(True, True), (False, False), ("text", "text"), (ExecutionBlocker(), True), (None, "None"), (1, "1")],
)
def test_answers_are_plain(result, plain):
    assert answered(classmethod(lambda cls, a, link: result)) == {"results": [plain]}


def test_hidden_values_and_received_types_are_passed_if_named():
    seen = {}

    def check(a, link, input_types, me, prompt):
        seen.update(a=a, link=link, input_types=input_types, me=me, prompt=prompt)
        return True

    answered(staticmethod(check))
    assert seen == {"a": 3, "link": None, "input_types": {"link": "MASK"}, "me": "5", "prompt": {}}


def test_a_class_that_takes_lists_gets_lists():
    seen = []
    answered(classmethod(lambda cls, a, link: seen.append((a, link)) or True), INPUT_IS_LIST=True)
    assert seen == [([3], (None,))]


def test_an_async_check():
    async def check(a, link):
        return "no"

    assert answered(staticmethod(check)) == {"results": ["no"]}


def test_a_check_that_raises_is_told_as_such():
    told = answered(classmethod(lambda cls, a, link: 1 / 0))["exception"]
    assert (told["type"], told["message"]) == ("ZeroDivisionError", "division by zero")
    assert told["traceback"]


async def test_calls_side_by_side_are_stopped_when_one_fails():
    stopped = []

    async def work(value):
        if value == 0:
            raise ValueError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(value)
            raise

    call = Call(function=work, takes_lists=False, context=RunContext())
    with pytest.raises(ValueError):  # noqa: PT011  # it has no text
        await call.all({"value": [0, 1, 2]})
    await asyncio.sleep(0)
    assert stopped == [1, 2]


async def test_calls_already_made_are_stopped_when_a_later_one_cannot_be():
    flag = InterruptFlag()

    async def work(value):
        await asyncio.Event().wait()

    call = Call(function=work, takes_lists=False, context=RunContext(interrupt=flag), on_block=lambda _: flag.set())
    with pytest.raises(Interrupted):
        call.start({"value": [0, ExecutionBlocker("stop"), 2]})
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
