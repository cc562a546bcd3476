"""Jobs as texts: what clients see, what stays secret, how they are ordered."""

import json
import math

import pytest

from executor.errors import BadInput
from executor.queue.job import HistoryEntry, Job, Result, crash_result, history_json, make_job


def job(**changes: object) -> Job:
    given = {"prompt_id": "p", "number": 1, "prompt": {}, "targets": ["1"], "extra_data": {}}
    return make_job(**{**given, **changes})


def test_the_item_is_the_five_tuple_of_clients():
    made = job(number=2.5, prompt={"1": {"class_type": "Say"}}, extra_data={"client_id": "me"})
    assert made.item() == [2.5, "p", {"1": {"class_type": "Say"}}, {"client_id": "me"}, ["1"]]


def test_json_that_no_other_format_carries_stays_as_it_is():
    made = job(prompt={"n": math.nan, "i": math.inf, "big": 2**70})
    shown = made.item()[2]
    assert isinstance(shown, dict)
    assert math.isnan(shown["n"])
    assert (shown["i"], shown["big"]) == (math.inf, 2**70)


def test_secrets_are_split_off():
    made = job(extra_data={"api_key_comfy_org": "K", "auth_token_comfy_org": "T", "x": 1})
    assert json.loads(made.extra_json) == {"x": 1}
    assert json.loads(made.secrets_json) == {"api_key_comfy_org": "K", "auth_token_comfy_org": "T"}


def test_secrets_do_not_show_in_a_repr():
    assert "KEY" not in repr(job(extra_data={"api_key_comfy_org": "KEY"}))


@pytest.mark.parametrize(("given", "owner"), [("me", "me"), (None, None), (7, "7")])
def test_the_owner_is_the_client_id_of_extra_data(given: object, owner: str | None):
    assert job(extra_data={"client_id": given}).client_id == owner


def test_a_job_without_client_id_has_no_owner():
    assert job().client_id is None


@pytest.mark.parametrize("field", ["prompt_id", "targets", "extra_data"])
def test_ids_that_are_no_text_are_refused(field: str):
    broken = {"prompt_id": "\ud800", "targets": ["\ud800"], "extra_data": {"client_id": "\ud800"}}[field]
    with pytest.raises(BadInput):
        job(**{field: broken})


def test_small_numbers_go_first_then_arrival_and_nan_last():
    numbers = [math.nan, 3, -math.inf, 3.0, 2**80, -1]
    jobs = [Job(id=str(row), number=n, prompt_json=b"{}", targets=(), row=row) for row, n in enumerate(numbers)]
    assert [made.row for made in sorted(jobs, key=Job.order)] == [2, 5, 1, 3, 4, 0]


def test_put_back_jobs_go_before_every_number():
    first = Job(id="a", number=9, prompt_json=b"{}", targets=(), row=2, at_head=True)
    second = Job(id="b", number=-9, prompt_json=b"{}", targets=(), row=1)
    assert min(second, first, key=Job.order) is first


@pytest.mark.parametrize(
    ("state", "word", "completed"),
    [("succeeded", "success", True), ("failed", "error", False), ("interrupted", "error", False)],
)
def test_the_status_of_an_entry(state, word, completed):
    entry = HistoryEntry(job=job(), result=Result(state=state, messages_json=b'[["e", {}]]'), ended_ms=0)
    assert json.loads(entry.status_json()) == {"status_str": word, "completed": completed, "messages": [["e", {}]]}


def test_history_is_an_object_by_id():
    entry = HistoryEntry(job=job(), result=Result(state="succeeded", outputs_json=b'{"1": {}}'), ended_ms=0)
    shown = json.loads(history_json([entry]))
    assert list(shown) == ["p"]
    assert list(shown["p"]) == ["prompt", "outputs", "status", "meta"]


def test_a_crash_says_why_in_the_last_message():
    messages = json.loads(crash_result(job(), "it broke", node_id="3").messages_json)
    assert [event for event, _ in messages] == ["execution_start", "execution_error"]
    assert messages[-1][1]["exception_message"] == "it broke\n"
    assert messages[-1][1]["node_id"] == "3"
