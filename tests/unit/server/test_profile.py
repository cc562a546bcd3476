"""POST /weft/profile: a prompt whose answer is its trace; and `weft profile --url`, which asks for that."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from executor.errors import BadInput, NotReady
from executor.messages import Finished, Run
from executor.settings import Settings
from server.profileurl import profile_at
from tests.unit.server.conftest import Stand

TRACE = {"traceEvents": [{"ph": "M", "name": "process_name"}], "displayTimeUnit": "ms"}
READER, OPERATOR = "reader-0123456789abcdef", "operator-0123456789abcdef"
KEYS = f"""[[key]]
name = "user"
token = "{READER}"
scopes = ["read", "submit"]
[[key]]
name = "watcher"
token = "watcher-0123456789abcdef"
scopes = ["read", "manage"]
[[key]]
name = "operator"
token = "{OPERATOR}"
"""


def profile(stand: Stand, graph: object, query: str = "", **headers: str) -> asyncio.Task[tuple[int, bytes]]:
    """Ask for a trace; the task ends with status and body."""

    async def ask() -> tuple[int, bytes]:
        async with stand.post(f"/weft/profile{query}", json={"prompt": graph}, headers=headers) as answer:
            return answer.status, await answer.read()

    return asyncio.create_task(ask())


async def traced(stand: Stand) -> Run:
    """The next job, whose trace its worker has written."""
    run = await stand.engine.job()
    Path(run.trace).write_text(json.dumps(TRACE))
    stand.engine.given.set()
    return run


async def fail(stand: Stand) -> None:
    """Let the next job fail."""
    job = (await stand.engine.job()).job_id
    error = {"prompt_id": job, "node_id": "2", "node_type": "Sink", "exception_message": "too wide\n"}
    messages = json.dumps([["execution_start", {}], ["execution_error", error]]).encode()
    told = Finished(job_id=job, state="failed", outputs_json=b"{}", meta_json=b"{}", messages_json=messages)
    stand.engine.tell(told)


async def test_the_answer_is_the_trace_and_how_the_prompt_ended(stand, graph):
    answer = profile(stand, graph)
    run = await traced(stand)
    await stand.engine.succeed()
    status, body = await answer
    told = {"weft": {"prompt_id": run.job_id, "state": "succeeded"}}
    assert (status, json.loads(body)) == (200, {**TRACE, **told})
    assert not run.trace_operators


async def test_operators_are_traced_when_they_are_wanted(stand, graph):
    answer = profile(stand, graph, "?torch=1")
    assert (await traced(stand)).trace_operators
    await stand.engine.succeed()
    await answer


async def test_a_prompt_that_fails_gives_the_trace_of_what_ran(stand, graph):
    answer = profile(stand, graph)
    await traced(stand)
    await fail(stand)
    status, body = await answer
    told = json.loads(body)
    assert (status, told["weft"]["state"], told["traceEvents"]) == (200, "failed", TRACE["traceEvents"])
    assert told["weft"]["error"]["message"] == "node 2 (Sink): too wide"


async def test_without_a_trace_the_failure_is_the_answer(stand, graph):
    answer = profile(stand, graph)
    await fail(stand)
    status, body = await answer
    assert (status, json.loads(body)["error"]["message"]) == (422, "node 2 (Sink): too wide")


async def test_no_file_stays_and_no_other_prompt_is_traced(stand, graph):
    answer = profile(stand, graph)
    await traced(stand)
    await stand.engine.succeed()
    await answer
    assert list((stand.base / "temp").iterdir()) == []
    await stand.submit()
    await stand.engine.succeed()
    assert stand.engine.runs[-1].trace == ""


async def test_a_body_cannot_ask_for_a_trace_elsewhere(stand):
    await stand.submit(trace="/tmp/x", extra_data={"trace": "/tmp/x"})
    await stand.engine.succeed()
    assert stand.engine.runs[-1].trace == ""


async def test_a_prompt_whose_client_left_is_stopped(stand, graph):
    answer = profile(stand, graph)
    run = await stand.engine.job()
    answer.cancel()
    async with asyncio.timeout(5):
        while run.job_id not in stand.engine.interrupted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("token", "words"), [(READER, "lacks the scope 'manage'"), ("watcher-0123456789abcdef", "the scope 'submit', too")]
)
async def test_a_trace_is_for_operators_who_may_submit(make_stand, tmp_path, graph, token, words):
    (tmp_path / "keys.toml").write_text(KEYS)
    stand = await make_stand(auth_keys=tmp_path / "keys.toml")
    status, body = await profile(stand, graph, Authorization=f"Bearer {token}")
    assert status == 403
    assert words in body.decode()
    assert stand.engine.runs == []


# ---------------------------------------------------------------- the command


def asked(stand: Stand, graph: object, token: str | None = None) -> asyncio.Task[str]:
    """What `weft profile --url` makes of a graph; its trace lies beside the server's folders."""
    settings, trace = Settings(auth_token=token), stand.base / "trace.json"
    url = str(stand.client.make_url("/"))
    return asyncio.create_task(asyncio.to_thread(profile_at, url, settings, graph, trace, operators=False))


async def test_the_command_writes_the_servers_trace(make_stand, tmp_path, graph):
    (tmp_path / "keys.toml").write_text(KEYS)
    stand = await make_stand(auth_keys=tmp_path / "keys.toml")
    command = asked(stand, graph, OPERATOR)
    await traced(stand)
    await stand.engine.succeed()
    assert await command == ""
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"] == TRACE["traceEvents"]


async def test_the_command_tells_what_failed(stand, graph):
    command = asked(stand, graph)
    await traced(stand)
    await fail(stand)
    assert await command == "node 2 (Sink): too wide"


async def test_the_command_tells_why_a_server_refuses(stand, graph):
    graph = {**graph, "1": {"class_type": "Source", "inputs": {"width": 99}}}
    with pytest.raises(BadInput, match=r"refuses: 400 .*\nnode 1 \(Source\): .*width"):
        await asked(stand, graph)


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "asks for a key: give one by --auth-token TOKEN"), ("of-nobody-0123456789", "does not know the key")],
)
async def test_the_command_names_the_flag_of_the_key_that_a_server_asks_for(make_stand, tmp_path, graph, token, words):
    (tmp_path / "keys.toml").write_text(KEYS)
    stand = await make_stand(auth_keys=tmp_path / "keys.toml")
    with pytest.raises(BadInput, match=f"refuses: 401 it {words}"):
        await asked(stand, graph, token)


async def test_the_command_tells_that_no_server_answers(tmp_path, graph):
    with pytest.raises(NotReady, match=r"no server answers at http://127\.0\.0\.1:1 "):
        await asyncio.to_thread(
            profile_at, "http://127.0.0.1:1", Settings(), graph, tmp_path / "trace.json", operators=False
        )


@pytest.mark.parametrize("url", ["127.0.0.1:8188", "ftp://127.0.0.1", "file:///etc/passwd"])
def test_an_address_is_one_of_a_web_server(tmp_path, url):
    with pytest.raises(BadInput, match="--url names a server"):
        profile_at(url, Settings(), {}, tmp_path / "trace.json", operators=False)
