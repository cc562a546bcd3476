"""/api/jobs: lists, one job, cancelling."""

from __future__ import annotations

import json
import uuid

import pytest

from executor.messages import Finished
from server import jobs

PICTURE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}
PREVIEW = {"filename": "p.png", "subfolder": "", "type": "temp"}
ERROR = {
    "prompt_id": "bad",
    "node_id": "1",
    "node_type": "Source",
    "exception_message": "no\n",
    "exception_type": "ValueError",
    "traceback": [],
}


async def end(stand, state, event, data=None, outputs=None):
    run = await stand.engine.job()
    messages = [["execution_start", {"prompt_id": run.job_id}], [event, data or {"prompt_id": run.job_id}]]
    stand.engine.tell(
        Finished(
            job_id=run.job_id,
            state=state,
            outputs_json=json.dumps(outputs or {}).encode(),
            meta_json=b"{}",
            messages_json=json.dumps(messages).encode(),
        )
    )


@pytest.fixture
async def five(stand):
    """One job of each status: done, bad, stopped, then running and waiting."""
    await stand.submit(prompt_id="done", extra_data={"extra_pnginfo": {"workflow": {"id": "w1"}}})
    await end(stand, "succeeded", "execution_success", outputs={"2": {"images": [PICTURE]}})
    await stand.idle()
    await stand.submit(prompt_id="bad")
    await end(stand, "failed", "execution_error", ERROR)
    await stand.idle()
    await stand.submit(prompt_id="stopped", number=7)
    await end(stand, "interrupted", "execution_interrupted")
    await stand.idle()
    await stand.submit(prompt_id="running")
    await stand.engine.job()
    await stand.submit(prompt_id="waiting", extra_data={"extra_pnginfo": {"workflow": {"id": "w1"}}})
    return stand


async def listed(stand, query=""):
    answer = await stand.get(f"/api/jobs{query}")
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def ids(stand, query=""):
    return [job["id"] for job in (await listed(stand, query))["jobs"]]


async def test_a_job_that_ends_again_under_its_id_is_told_anew(stand):
    for state, event in (("succeeded", "execution_success"), ("failed", "execution_error")):
        await stand.submit(prompt_id="same")
        await end(stand, state, event, ERROR)
        await stand.idle()
        told = (await listed(stand))["jobs"]
    assert [(job["id"], job["status"]) for job in told] == [("same", "failed")]


async def test_pages_are_whole_whatever_is_kept_and_read_at_once(five, monkeypatch):
    monkeypatch.setattr(jobs, "AT_ONCE", 2)
    monkeypatch.setattr(jobs, "MOST_TEXTS", 1)
    for _ in range(3):
        assert await ids(five) == ["waiting", "running", "stopped", "bad", "done"]


async def test_a_page_is_made_once_until_it_changes(five, monkeypatch):
    first = await listed(five, "?status=completed,failed,cancelled")
    monkeypatch.setattr(jobs, "_dumped", lambda value: pytest.fail("it was made again"))
    assert await listed(five, "?status=completed,failed,cancelled") == first
    monkeypatch.undo()
    await five.post("/history", json={"delete": ["bad"]})
    assert [job["id"] for job in (await listed(five, "?status=completed,failed,cancelled"))["jobs"]] == [
        "stopped",
        "done",
    ]


async def test_no_more_pages_are_kept_than_may_be(five, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_PAGES", 2)
    for limit in (1, 2, 3, 4):
        await listed(five, f"?limit={limit}")
    monkeypatch.setattr(jobs, "LARGEST_PAGE", 10)
    await listed(five, "?limit=5")
    assert [query.limit for query in five.front.jobs._pages] == [3, 4]


async def test_deleted_entries_are_not_listed(five):
    await ids(five)
    await five.post("/history", json={"delete": ["bad"]})
    told = await listed(five)
    assert [job["id"] for job in told["jobs"]] == ["waiting", "running", "stopped", "done"]
    assert told["pagination"]["total"] == 4


async def test_jobs_of_the_last_run_are_listed(five, make_stand):
    await five.stop()
    assert set(await ids(await make_stand())) == {"done", "bad", "stopped", "running", "waiting"}


async def test_newest_comes_first(five):
    assert await ids(five) == ["waiting", "running", "stopped", "bad", "done"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?status=in_progress,pending", ["waiting", "running"]),
        ("?status=completed,failed,cancelled", ["stopped", "bad", "done"]),
        ("?status=failed", ["bad"]),
        ("?status=", ["waiting", "running", "stopped", "bad", "done"]),
        ("?sort_order=asc&limit=2", ["done", "bad"]),
        ("?limit=2&offset=1", ["running", "stopped"]),
        ("?offset=4", ["done"]),
        ("?offset=9&limit=2", []),
        ("?workflow_id=w1", ["waiting", "done"]),
        ("?workflow_id=w1&status=completed", ["done"]),
        ("?workflow_id=none", []),
        ("?unknown=1&status=cancelled", ["stopped"]),
    ],
)
async def test_filter_page_and_order(five, query, shown):
    assert await ids(five, query) == shown


async def test_pagination_tells_where_the_page_stands(five):
    page = (await listed(five, "?limit=2&offset=1"))["pagination"]
    assert page == {"offset": 1, "limit": 2, "total": 5, "has_more": True}


async def test_last_page_has_no_more(five):
    assert (await listed(five))["pagination"] == {"offset": 0, "limit": None, "total": 5, "has_more": False}


async def test_longest_work_comes_first_when_sorted_by_duration(five):
    jobs = (await listed(five, "?sort_by=execution_duration&status=completed,failed,cancelled"))["jobs"]
    times = [job["execution_end_time"] - job["execution_start_time"] for job in jobs]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    "query",
    ["?status=done", "?sort_by=name", "?sort_order=up", "?limit=0", "?limit=x", "?limit=-1", "?offset=-1", "?offset=x"],
)
async def test_bad_query_values_are_refused(stand, query):
    answer = await stand.get(f"/api/jobs{query}")
    assert answer.status == 400
    assert list(await answer.json()) == ["error"]


async def test_finished_job_names_times_and_outputs(five):
    (job,) = (await listed(five, "?status=completed"))["jobs"]
    times = [job.pop(key) for key in ("create_time", "execution_start_time", "execution_end_time")]
    assert times == sorted(times)
    assert job == {
        "id": "done",
        "status": "completed",
        "priority": 0,
        "outputs_count": 1,
        "previewable_outputs_count": 1,
        "workflow_id": "w1",
        "preview_output": {**PICTURE, "nodeId": "2", "mediaType": "images"},
    }


async def test_failed_job_tells_its_error(five):
    (job,) = (await listed(five, "?status=failed"))["jobs"]
    assert job["execution_error"] == ERROR


async def test_waiting_job_has_no_times_of_work(five):
    (job,) = (await listed(five, "?status=pending"))["jobs"]
    assert set(job) == {
        "id",
        "status",
        "priority",
        "create_time",
        "outputs_count",
        "previewable_outputs_count",
        "workflow_id",
    }


async def test_priority_is_the_number(five):
    (job,) = (await listed(five, "?status=cancelled"))["jobs"]
    assert job["priority"] == 7


@pytest.mark.parametrize(
    ("outputs", "count", "previewable", "name"),
    [
        ({"1": {"images": [PREVIEW, PICTURE]}}, 2, 2, "a_00001_.png"),
        ({"1": {"images": [PREVIEW]}}, 1, 1, "p.png"),
        ({"1": {"images": [PICTURE], "animated": [True]}}, 1, 1, "a_00001_.png"),
        ({"1": {"gifs": [{"filename": "v.mp4", "format": "video/h264-mp4", "type": "output"}]}}, 1, 1, "v.mp4"),
        ({"1": {"result": [{"filename": "m.GLB", "type": "output"}]}}, 1, 1, "m.GLB"),
        ({"1": {"latents": [{"filename": "x.latent", "type": "output"}]}}, 1, 0, None),
        ({"1": {"text": ["words"]}}, 0, 0, None),
        ({"1": {"text": [{"filename": "t.txt"}]}, "2": {"images": [PREVIEW]}}, 2, 1, "p.png"),
        ({"1": {"text": [{"filename": "t.txt"}]}}, 1, 0, "t.txt"),
        ({"1": None, "2": {"images": None}}, 0, 0, None),
    ],
)
async def test_outputs_are_counted_and_one_is_the_preview(stand, outputs, count, previewable, name):
    await stand.submit(prompt_id="a")
    await stand.engine.succeed(outputs)
    await stand.idle()
    (job,) = (await listed(stand))["jobs"]
    assert (job["outputs_count"], job["previewable_outputs_count"]) == (count, previewable)
    assert job.get("preview_output", {}).get("filename") == name


# ---------------------------------------------------------------- one job


async def test_finished_job_shows_its_workflow_and_outputs(five, graph):
    job = await (await five.get("/api/jobs/done")).json()
    assert job["outputs"] == {"2": {"images": [PICTURE]}}
    assert job["workflow"]["prompt"] == graph
    assert job["workflow"]["extra_data"]["extra_pnginfo"] == {"workflow": {"id": "w1"}}
    assert job["execution_status"]["status_str"] == "success"
    assert job["execution_meta"] == {}
    assert job["update_time"] == job["execution_end_time"]


@pytest.mark.parametrize(("job_id", "status"), [("running", "in_progress"), ("waiting", "pending")])
async def test_queued_job_shows_its_workflow(five, graph, job_id, status):
    job = await (await five.get(f"/api/jobs/{job_id}")).json()
    assert (job["status"], job["outputs"], job["workflow"]["prompt"]) == (status, {}, graph)


async def test_unknown_job_is_not_found(stand):
    answer = await stand.get(f"/api/jobs/{uuid.uuid4()}")
    assert (answer.status, await answer.json()) == (404, {"error": "Job not found"})


async def test_there_is_no_path_without_api(stand):
    assert (await stand.get("/jobs")).status == 404


# ---------------------------------------------------------------- cancelling


async def test_cancelling_a_running_job_interrupts_it(five):
    answer = await five.post("/api/jobs/running/cancel")
    assert (answer.status, await answer.json()) == (200, {"cancelled": True})
    assert five.engine.interrupted == ["running"]


async def test_cancelling_a_waiting_job_removes_it(five):
    assert await (await five.post("/api/jobs/waiting/cancel")).json() == {"cancelled": True}
    assert five.front.store.pending() == []


@pytest.mark.parametrize("job_id", ["done", "unknown"])
async def test_nothing_to_cancel_is_told(five, job_id):
    answer = await five.post(f"/api/jobs/{job_id}/cancel")
    assert (answer.status, await answer.json()) == (200, {"cancelled": False})


@pytest.mark.parametrize(
    ("wanted", "cancelled"), [(["running", "waiting"], True), (["waiting"], True), (["done"], False), ([], False)]
)
async def test_several_jobs_are_cancelled_at_once(five, wanted, cancelled):
    answer = await five.post("/api/jobs/cancel", json={"job_ids": wanted})
    assert (answer.status, await answer.json()) == (200, {"cancelled": cancelled})


async def test_cancelling_an_unknown_uuid_is_told(stand):
    answer = await stand.post("/api/jobs/cancel", json={"job_ids": [str(uuid.uuid4())]})
    assert (answer.status, await answer.json()) == (200, {"cancelled": False})


async def test_what_is_no_id_is_refused_and_nothing_is_cancelled(five):
    answer = await five.post("/api/jobs/cancel", json={"job_ids": ["waiting", "no uuid", 5]})
    assert answer.status == 400
    assert (await answer.json())["invalid_ids"] == ["no uuid", 5]
    assert five.front.store.pending() != []


@pytest.mark.parametrize("body", [{}, {"job_ids": "a"}, []])
async def test_cancelling_needs_a_list(stand, body):
    answer = await stand.post("/api/jobs/cancel", json=body)
    assert (answer.status, "error" in await answer.json()) == (400, True)
