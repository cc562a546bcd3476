"""One real worker process that stays alive: what it answers, and what the front does while nodes misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from executor.errors import BadInput, NotReady
from tests.process.front import Front, graph

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    front = await Front(tmp_path_factory.mktemp("front")).start()
    await front.ready.wait()
    yield front
    await front.stop()


async def test_a_prompt_ends_in_history_with_its_outputs(front: Front):
    entry = await front.run("say", graph("Say", text="hello"))
    assert json.loads(entry.result.outputs_json) == {"1": {"text": ["hello"]}}


async def test_the_events_of_a_prompt_come_in_order(front: Front):
    await front.run("order", graph("Say", text="order"))
    names = [name for name, data in front.events if data.get("prompt_id") == "order"]
    assert names == [
        "execution_start",
        "execution_cached",
        "progress_state",
        "executing",
        "executed",
        "progress_state",
        "execution_success",
        "executing",
    ]


async def test_a_raising_node_fails_its_prompt_and_the_next_one_runs(front: Front):
    entry = await front.run("raise", graph("Raise", text="no way"))
    event, data = json.loads(entry.result.messages_json)[-1]
    assert (event, data["exception_type"], data["exception_message"]) == ("execution_error", "ValueError", "no way\n")
    assert (await front.run("after", graph("Say", text="after"))).result.state == "succeeded"


async def test_odd_numbers_come_through_unharmed(front: Front):
    entry = await front.run("odd", {"1": {"class_type": "Say", "inputs": {"text": "x", "n": float("nan"), "i": 2**80}}})
    assert b"NaN" in entry.job.prompt_json
    assert str(2**80).encode() in entry.job.prompt_json


@pytest.mark.parametrize(("class_type", "seconds"), [("Sleep", 30.0), ("SleepAsync", 30.0)])
async def test_an_interrupt_ends_a_long_node(front: Front, class_type: str, seconds: float):
    prompt_id = f"interrupt-{class_type}"
    await front.submit(prompt_id, graph(class_type, seconds=seconds))
    await front.until_heard("executing", prompt_id)
    assert front.dispatcher.interrupt(prompt_id)
    entry = await front.ended(prompt_id)
    assert (entry.result.state, front.heard("execution_interrupted", prompt_id)) == ("interrupted", True)


async def test_an_interrupt_right_after_the_submission_is_not_lost(front: Front):
    await front.submit("early", graph("Sleep", seconds=30.0))
    await front.until(lambda: front.store.running())
    front.dispatcher.interrupt("early")
    assert (await front.ended("early")).result.state == "interrupted"


async def test_a_node_that_holds_the_interpreter_does_not_stall_the_front(front: Front, tmp_path: Path):
    mark = tmp_path / "holding"
    await front.submit("hold", graph("HoldInterpreter", seconds=1.5, mark=str(mark)))
    while not mark.exists():
        await asyncio.sleep(0.01)
    await front.submit("waiting", graph("Say", text="waiting"))
    assert [job.id for job in front.store.pending()] == ["waiting"]
    assert await front.store.history_of("hold") is None  # it holds still
    await front.ended("waiting")


async def test_the_worker_runs_a_class_s_own_check(front: Front):
    question = {"node_id": "1", "class_type": "Picky", "inputs": {"text": "bad"}, "linked": [], "received_types": {}}
    answer = await front.dispatcher.ask("validate", json.dumps(question).encode())
    assert json.loads(answer) == {"results": ["not this one"]}


async def test_the_worker_describes_classes_anew(front: Front):
    answer = json.loads(await front.dispatcher.ask("describe", b'["Say"]'))
    assert answer["wire"]["Say"]["input"] == {"required": {"text": ["STRING", {}]}}


async def test_the_complaint_of_a_bad_question_comes_back(front: Front):
    with pytest.raises(BadInput, match="there is no node 'Sya'"):
        await front.dispatcher.ask("describe", b'["Sya"]')


async def test_a_late_answer_is_not_waited_for(front: Front, tmp_path: Path):
    mark = tmp_path / "mute"
    await front.submit("mute", graph("HoldInterpreter", seconds=0.8, mark=str(mark)))
    while not mark.exists():
        await asyncio.sleep(0.01)
    with pytest.raises(NotReady, match="did not answer"):
        await front.engine.ask("describe", b'["Say"]', timeout_s=0.1)
    await front.ended("mute")


async def test_freeing_leaves_a_worker_that_runs_prompts(front: Front):
    front.dispatcher.free(models=True, cache=True)
    entry = await front.run("freed", graph("Say", text="hello"))
    assert json.loads(entry.result.messages_json)[1][1]["nodes"] == []


async def test_the_worker_tells_its_devices(front: Front):
    (worker,) = front.engine.workers()
    assert [(device.type, device.index) for device in worker.devices] == [("cpu", None)]
    assert worker.devices[0].vram_total > 0
