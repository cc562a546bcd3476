"""The last message of a job, which is told once its row is stored."""

from __future__ import annotations

import json

import pytest

from executor.queue.ends import last_message


@pytest.mark.parametrize(
    "data", [{"prompt_id": "p"}, {"text": '"], ["', "a": [1, {"b": None}]}, None, {"n": 2**70, "text": "\ud800"}]
)
def test_the_last_message_is_told_as_it_was_written(data):
    text = json.dumps([["execution_start", {"prompt_id": "p"}], ["execution_success", data]]).encode()
    assert last_message(text) == ("execution_success", data)


def test_the_last_message_may_hold_what_is_no_json():
    event, told = last_message(b'[["execution_error", {"current_inputs": {"x": [NaN, -Infinity]}}]]')
    assert json.dumps([event, told]) == '["execution_error", {"current_inputs": {"x": [NaN, -Infinity]}}]'


def test_a_job_without_messages_has_no_last_one():
    assert last_message(b"[]") is None
