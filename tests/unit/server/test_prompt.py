"""GET and POST /prompt."""

from __future__ import annotations

import json
import re

import pytest


async def test_answer_names_prompt_and_number(stand):
    assert await stand.submit(prompt_id="p") == {"prompt_id": "p", "number": 0, "node_errors": {}}


async def test_id_is_made_when_none_is_given(stand):
    answer = await stand.submit()
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", answer["prompt_id"])


async def test_null_id_counts_as_none_given(stand):
    assert (await stand.submit(prompt_id=None))["prompt_id"] != "None"


async def test_id_may_be_any_scalar(stand):
    assert (await stand.submit(prompt_id=17))["prompt_id"] == "17"


async def test_front_negates_the_counter(stand):
    await stand.submit()
    assert (await stand.submit(front=True))["number"] == -1


async def test_given_number_leaves_the_counter(stand):
    assert (await stand.submit(number="7"))["number"] == 7.0
    assert (await stand.submit())["number"] == 0


async def test_refused_request_moves_the_counter(stand):
    await stand.post("/prompt", json={"prompt": {}})
    assert (await stand.submit())["number"] == 1


@pytest.mark.parametrize("number", ["x", None, [1], float("nan"), float("inf"), 10**400])
async def test_number_must_be_a_finite_number(stand, number):
    answer = await stand.post("/prompt", data=json.dumps({"prompt": {}, "number": number}))
    assert answer.status == 400


@pytest.mark.parametrize(
    "body", [b"{not json", b"", b"[1]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"1" * 5000]
)
async def test_body_that_is_no_object_is_refused(stand, body):
    answer = await stand.post("/prompt", data=body)
    assert answer.status == 400
    assert (await answer.json())["error"]["type"] == "invalid_request"


@pytest.mark.parametrize("fields", [{"extra_data": [1]}, {"partial_execution_targets": "2"}, {"prompt_id": {}}])
async def test_field_of_the_wrong_type_is_refused(stand, fields):
    answer = await stand.post("/prompt", json={"prompt": {}, **fields})
    assert answer.status == 400


async def test_wrong_type_is_named_in_the_words_of_json(stand):
    answer = await stand.post("/prompt", json={"prompt": {}, "extra_data": [1]})
    assert (await answer.json())["error"]["message"] == "extra_data must be a JSON object, not an array"


async def test_missing_prompt_is_told(stand):
    answer = await stand.post("/prompt", json={})
    error = {
        "type": "no_prompt",
        "message": "No prompt provided",
        "details": "No prompt provided",
        "extra_info": {},
    }
    assert await answer.json() == {"error": error, "node_errors": {}}


async def test_content_type_does_not_matter(stand):
    body = b'{"prompt": {}}'
    answer = await stand.post("/prompt", data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (await answer.json())["error"]["type"] == "prompt_no_outputs"


async def test_refused_prompt_is_not_queued(stand):
    graph = {"2": {"class_type": "Sink", "inputs": {}}}
    answer = await stand.post("/prompt", json={"prompt": graph})
    body = await answer.json()
    assert body["node_errors"]["2"]["errors"][0]["type"] == "required_input_missing"
    assert stand.front.store.remaining() == 0


async def test_unknown_class_names_the_nearest(stand):
    answer = await stand.post("/prompt", json={"prompt": {"1": {"class_type": "Sourse", "inputs": {}}}})
    assert "Source" in (await answer.json())["error"]["message"]


async def test_without_definitions_the_answer_is_later(make_stand):
    stand = await make_stand(ready=False)
    answer = await stand.post("/prompt", json={"prompt": {}})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_client_id_goes_into_extra_data(stand):
    await stand.submit(client_id="me", extra_data={"note": 1})
    run = await stand.engine.job()
    assert json.loads(run.extra_json) == {"note": 1, "client_id": "me"}


async def test_secrets_reach_the_worker_but_no_listing(stand):
    await stand.submit(extra_data={"api_key_comfy_org": "s3cret"})
    run = await stand.engine.job()
    assert json.loads(run.secrets_json) == {"api_key_comfy_org": "s3cret"}
    assert "s3cret" not in await (await stand.get("/queue")).text()


async def test_partial_targets_choose_outputs(stand):
    graph = {
        "1": {"class_type": "Source", "inputs": {"width": 8}},
        "2": {"class_type": "Sink", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "Sink", "inputs": {"image": ["1", 0]}},
    }
    await stand.post("/prompt", json={"prompt": graph, "partial_execution_targets": ["3"]})
    assert (await stand.engine.job()).targets == ("3",)


async def test_get_counts_what_waits_and_runs(stand):
    await stand.submit()
    await stand.submit()
    assert await (await stand.get("/api/prompt")).json() == {"exec_info": {"queue_remaining": 2}}
