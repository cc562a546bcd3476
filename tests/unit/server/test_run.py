"""POST /weft/run and `Prefer: wait`: answers that wait for what the prompt made."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json

import pytest
from PIL import Image

from executor.messages import Finished
from tests.unit.server.conftest import GRAPH, Stand

BODY = {"prompt": GRAPH}
OUTPUTS = {
    "9": {"images": [{"filename": "t.png", "subfolder": "", "type": "temp"}]},
    "2": {
        "images": [
            {"filename": "a.png", "subfolder": "sub", "type": "output"},
            {"filename": "b c.webp", "subfolder": "", "type": "output"},
        ],
        "text": ["hello"],
    },
    "3": {"audio": [{"filename": "s.flac", "subfolder": "", "type": "output"}], "animated": [True]},
}
WAITING = {"Prefer": "wait=0"}


@pytest.fixture
def files(stand: Stand) -> Stand:
    """The files that OUTPUTS names, in the folders of `stand`."""
    for root, name in (("temp", "t.png"), ("output", "sub/a.png"), ("output", "b c.webp"), ("output", "s.flac")):
        path = stand.base / root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return stand


def run(stand: Stand, query: str = "", body: object = BODY, **headers: str) -> asyncio.Task:
    """Post to /weft/run; the task ends with status, headers and body."""
    return asyncio.create_task(posted(stand, f"/weft/run{query}", body, headers))


async def posted(stand: Stand, path: str, body: object, headers: dict[str, str]) -> tuple[int, object, bytes]:
    async with stand.post(path, json=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def ended(stand: Stand, query: str = "", **headers: str) -> tuple[int, object, bytes]:
    answer = run(stand, query, **headers)
    await stand.engine.succeed(OUTPUTS)
    return await answer


async def fail(stand: Stand, state: str, event: str, **data: object) -> None:
    """Let the next job end otherwise."""
    job = (await stand.engine.job()).job_id
    messages = [["execution_start", {}], [event, {"prompt_id": job, **data}]]
    stand.engine.tell(
        Finished(
            job_id=job,
            state=state,
            outputs_json=b"{}",
            meta_json=b"{}",
            messages_json=json.dumps(messages).encode(),
        )
    )


# ---------------------------------------------------------------- what is answered


async def test_json_tells_state_outputs_and_the_files_addresses(files):
    status, headers, body = await ended(files)
    told = json.loads(body)
    assert (status, told["state"], told["outputs"], told["node_errors"]) == (200, "succeeded", OUTPUTS, {})
    assert headers["X-Weft-Prompt-Id"] == told["prompt_id"]
    assert [file["filename"] for file in told["files"]] == ["t.png", "a.png", "b c.webp", "s.flac"]
    for file in told["files"]:
        async with files.get(file["url"]) as answer:
            assert (answer.status, answer.content_type) == (200, file["content_type"])


async def test_addresses_begin_with_the_public_one_where_it_is_known(make_stand):
    stand = await make_stand(public_url="https://weft.example/")
    _, _, body = await ended(stand)
    assert json.loads(body)["files"][1]["url"] == "https://weft.example/view?filename=a.png&subfolder=sub&type=output"


@pytest.mark.parametrize(
    ("query", "accept", "name"),
    [
        ("?answer=picture", "*/*", "sub/a.png"),
        ("", "image/*", "sub/a.png"),
        ("", "image/webp,image/*;q=0.8,*/*;q=0.5", "sub/a.png"),
        ("", "audio/flac", "s.flac"),
        ("?index=1", "image/*", "b c.webp"),
        ("?node=9&answer=picture", "*/*", "t.png"),
        ("?node=3&answer=picture", "image/*", "s.flac"),
    ],
)
async def test_a_file_comes_as_it_is(files, query, accept, name):
    status, headers, body = await ended(files, query, Accept=accept)
    assert (status, body, headers["X-Weft-Files"]) == (200, name.encode(), "4")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("form", ["webp", "jpeg"])
async def test_who_takes_only_another_form_gets_the_picture_in_it(stand, make_png, form):
    (stand.base / "output" / "sub").mkdir(parents=True)
    (stand.base / "output" / "sub" / "a.png").write_bytes(make_png())
    status, headers, body = await ended(stand, Accept=f"image/{form}")
    assert (status, headers["Content-Type"]) == (200, f"image/{form}")
    assert headers["Content-Disposition"] == f'filename="a.{form}"'
    with Image.open(io.BytesIO(body)) as picture:
        assert (picture.format.lower(), picture.size) == (form, (4, 2))


async def test_a_picture_that_is_to_be_converted_and_is_gone_is_told(stand):
    status, _, body = await ended(stand, Accept="image/webp")
    assert (status, json.loads(body)["error"]["type"]) == (410, "file_gone")


@pytest.mark.parametrize("accept", ["*/*", "application/json, image/*", "image/*;q=0.5, application/json", ""])
async def test_who_likes_json_as_well_gets_it(files, accept):
    _, headers, _ = await ended(files, Accept=accept)
    assert headers["Content-Type"].startswith("application/json")


async def test_contents_come_as_base64(files):
    _, _, body = await ended(files, "?answer=base64")
    assert [base64.b64decode(file["base64"]) for file in json.loads(body)["files"]] == [
        b"t.png",
        b"sub/a.png",
        b"b c.webp",
        b"s.flac",
    ]


async def test_each_picture_of_a_sequence_is_a_file(stand):
    (stand.base / "output").mkdir(exist_ok=True)
    (stand.base / "output" / "v.002.png").write_bytes(b"second")
    shown = {"filename": "v.%03d.png", "subfolder": "", "type": "output", "frames": 2}
    answer = run(stand, "?answer=base64")
    await stand.engine.succeed({"4": {"gifs": [shown]}})
    told = json.loads((await answer)[2])
    assert [(file["filename"], file["base64"]) for file in told["files"]] == [
        ("v.001.png", None),
        ("v.002.png", base64.b64encode(b"second").decode()),
    ]
    assert "filename=v.002.png" in told["files"][1]["url"]
    assert told["outputs"]["4"]["gifs"] == [shown]


async def test_a_kind_of_file_that_was_not_made_is_refused_with_what_there_is(files):
    status, _, body = await ended(files, Accept="video/*")
    error = json.loads(body)["error"]
    assert (status, error["type"]) == (406, "no_such_file")
    assert "node 3: s.flac (audio/flac)" in error["details"]


async def test_a_file_that_is_gone_is_told(stand):
    status, _, body = await ended(stand, "?answer=picture")
    assert (status, json.loads(body)["error"]["type"]) == (410, "file_gone")


@pytest.mark.parametrize("query", ["?answer=jpeg", "?index=-1", "?index=x"])
async def test_a_wish_that_cannot_be_met_runs_nothing(stand, query):
    status, _, _ = await run(stand, query)
    assert (status, stand.front.store.remaining()) == (400, 0)


async def test_a_prompt_that_is_no_good_is_refused_as_by_prompt(stand):
    wrong = {"prompt": {"1": {"class_type": "Sink", "inputs": {}}}}
    assert (await run(stand, body=wrong))[::2] == (await posted(stand, "/prompt", wrong, {}))[::2]


@pytest.mark.parametrize(
    ("cause", "status"),
    [("ValueError", 422), ("executor.errors.WorkerCrashed", 500), ("executor.errors.JobTimeout", 504)],
)
async def test_a_failure_names_node_and_reason(stand, cause, status):
    answer = run(stand)
    told = {"node_id": "1", "node_type": "Source", "exception_message": "too dark\n", "exception_type": cause}
    await fail(stand, "failed", "execution_error", **told)
    found, _, body = await answer
    error = json.loads(body)["error"]
    assert (found, error["type"], error["message"]) == (status, "execution_error", "node 1 (Source): too dark")
    assert error["extra_info"]["exception_type"] == cause


async def test_a_prompt_that_was_stopped_is_told(stand):
    answer = run(stand)
    await fail(stand, "interrupted", "execution_interrupted")
    status, _, body = await answer
    assert (status, json.loads(body)["error"]["type"]) == (409, "interrupted")


async def test_a_prompt_that_was_removed_while_it_waited_is_told(stand):
    await stand.submit()
    await stand.engine.job()
    answer = run(stand)
    async with asyncio.timeout(60):
        while not stand.front.store.pending():
            await asyncio.sleep(0)
    await stand.front.dispatcher.clear()
    status, _, body = await answer
    assert (status, json.loads(body)["error"]["type"]) == (409, "removed")


# ---------------------------------------------------------------- waiting


async def test_prompt_with_prefer_wait_answers_with_what_was_made(stand):
    answer = asyncio.create_task(posted(stand, "/prompt", BODY, {"Prefer": "respond-async, wait=60"}))
    await stand.engine.succeed(OUTPUTS)
    status, headers, body = await answer
    told = json.loads(body)
    assert (status, told["outputs"], told["number"]) == (200, OUTPUTS, 0)
    assert headers["Preference-Applied"] == "wait=60"


async def test_prompt_without_it_answers_as_ever(stand):
    status, headers, body = await posted(stand, "/prompt", BODY, {"Prefer": "return=minimal"})
    assert (status, set(json.loads(body))) == (200, {"prompt_id", "number", "node_errors"})
    assert "Preference-Applied" not in headers


@pytest.mark.parametrize("path", ["/weft/run", "/prompt"])
async def test_when_the_time_is_up_the_prompt_goes_on(stand, path):
    status, headers, body = await posted(stand, path, BODY, WAITING)
    told = json.loads(body)
    assert (status, told["state"], headers["Preference-Applied"]) == (202, "running", "wait=0")
    await stand.engine.succeed()
    await stand.idle()
    async with stand.get(headers["Location"]) as answer:
        assert (await answer.json())["state"] == "succeeded"


async def test_the_place_of_its_end_begins_with_the_public_address(make_stand):
    stand = await make_stand(public_url="https://weft.example/inner/")
    _, headers, body = await posted(stand, "/weft/run", BODY, WAITING)
    assert headers["Location"] == f"https://weft.example/inner/weft/jobs/{json.loads(body)['prompt_id']}"


async def test_twenty_equal_calls_with_a_key_are_one_run_with_equal_answers(stand):
    answers = [run(stand, **{"Idempotency-Key": "k"}) for _ in range(20)]
    await stand.engine.succeed(OUTPUTS)
    found = await asyncio.gather(*answers)
    assert {(status, body) for status, _, body in found} == {(200, found[0][2])}
    assert len(stand.engine.runs) == 1


async def test_a_call_with_the_key_of_a_prompt_that_ended_gets_its_end_at_once(stand):
    await posted(stand, "/prompt", BODY, {"Idempotency-Key": "k"})
    await stand.engine.succeed(OUTPUTS)
    await stand.idle()
    status, _, body = await run(stand, **{"Idempotency-Key": "k"})
    assert (status, json.loads(body)["outputs"]) == (200, OUTPUTS)


async def test_of_two_prompts_with_one_id_each_call_hears_of_its_own(stand):
    first = run(stand, body={**BODY, "prompt_id": "x"})
    await stand.engine.job()
    second = run(stand, body={**BODY, "prompt_id": "x", "front": True})
    async with asyncio.timeout(60):
        while not stand.front.store.pending():
            await asyncio.sleep(0)
    stand.engine.given.set()
    await stand.engine.succeed({"2": {"text": ["first"]}})
    assert json.loads((await first)[2])["outputs"] == {"2": {"text": ["first"]}}
    assert not second.done()
    await stand.engine.succeed({"2": {"text": ["second"]}})
    assert json.loads((await second)[2])["outputs"] == {"2": {"text": ["second"]}}


async def test_a_full_queue_refuses(make_stand):
    stand = await make_stand(max_queue=1)
    await stand.submit()
    await stand.submit()
    status, headers, _ = await run(stand)
    assert (status, "Retry-After" in headers) == (429, True)


async def test_a_server_that_stops_tells_that_the_prompt_goes_on(stand):
    answer = run(stand)
    await stand.engine.job()
    stand.front.store.waiters.close()
    status, headers, _ = await answer
    assert (status, headers["Location"]) == (202, f"/weft/jobs/{headers['X-Weft-Prompt-Id']}")
    assert stand.engine.interrupted == []


# ---------------------------------------------------------------- leaving


async def leave(stand: Stand, *answers: asyncio.Task, still: int = 0) -> None:
    """Close the connections of calls that wait, and let the server notice."""
    for answer in answers:
        answer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answer
    async with asyncio.timeout(60):
        while sum(stand.front.calls._waiting.values()) > still:
            await asyncio.sleep(0.01)


async def waiting(stand: Stand, count: int) -> None:
    async with asyncio.timeout(60):
        while sum(stand.front.calls._waiting.values()) < count:
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_cancels_what_it_ran(stand):
    answer = run(stand)
    job = await stand.engine.job()
    await waiting(stand, 1)
    await leave(stand, answer)
    async with asyncio.timeout(60):
        while not stand.engine.interrupted:
            await asyncio.sleep(0.01)
    assert stand.engine.interrupted == [job.job_id]


async def test_a_client_that_leaves_takes_what_waits_out_of_the_queue(stand):
    await stand.submit()
    await stand.engine.job()
    answer = run(stand)
    await waiting(stand, 1)
    await leave(stand, answer)
    async with asyncio.timeout(60):
        while stand.front.store.pending():
            await asyncio.sleep(0.01)
    assert stand.engine.interrupted == []


@pytest.mark.parametrize("query", ["?keep=true", "?keep=1"])
async def test_with_keep_the_prompt_goes_on(stand, query):
    answer = run(stand, query)
    await waiting(stand, 1)
    await leave(stand, answer)
    assert (stand.engine.interrupted, stand.front.store.remaining()) == ([], 1)


async def test_as_long_as_one_of_several_waits_the_prompt_goes_on(stand):
    answers = [run(stand, **{"Idempotency-Key": "k"}) for _ in range(3)]
    await waiting(stand, 3)
    await leave(stand, *answers[:2], still=1)
    assert stand.engine.interrupted == []
    await stand.engine.succeed()
    assert (await answers[2])[0] == 200


async def test_a_prompt_that_was_posted_too_is_left_alone(stand):
    answer = run(stand, **{"Idempotency-Key": "k"})
    await waiting(stand, 1)
    assert (await posted(stand, "/prompt", BODY, {"Idempotency-Key": "k"}))[0] == 200
    await leave(stand, answer)
    assert (stand.engine.interrupted, stand.front.store.remaining()) == ([], 1)


async def test_prompt_with_prefer_wait_goes_on_when_its_client_leaves(stand):
    answer = asyncio.create_task(posted(stand, "/prompt", BODY, {"Prefer": "wait"}))
    await waiting(stand, 1)
    await leave(stand, answer)
    assert (stand.engine.interrupted, stand.front.store.remaining()) == ([], 1)


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(("scopes", "status"), [('["submit"]', 403), ('["read"]', 403), ('["submit", "read"]', 202)])
async def test_a_call_needs_the_right_to_submit_and_to_read(make_stand, tmp_path, scopes, status):
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[key]]\nname = "k"\ntoken = "sixteen characters"\nscopes = {scopes}\n')
    stand = await make_stand(auth_keys=keys)
    headers = {"Authorization": "Bearer sixteen characters", **WAITING}
    found, _, _ = await posted(stand, "/weft/run", BODY, headers)
    assert (found, stand.front.store.remaining()) == (status, int(status == 202))


async def test_who_may_only_submit_gets_the_plain_answer_of_prompt(make_stand, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text('[[key]]\nname = "k"\ntoken = "sixteen characters"\nscopes = ["submit"]\n')
    stand = await make_stand(auth_keys=keys)
    headers = {"Authorization": "Bearer sixteen characters", "Prefer": "wait"}
    assert (await posted(stand, "/prompt", BODY, headers))[0] == 200
