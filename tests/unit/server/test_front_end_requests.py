"""What the official front end asks a fresh server (reference/frontend_requests.md), and how it ends."""

from __future__ import annotations

import pytest
from aiohttp import FormData

from tests.unit.server.conftest import png

PENDING, DONE = "in_progress,pending", "completed,failed,cancelled"

START = [
    ("/", 200),
    ("/user.css", 404),
    ("/api/userdata/user.css", 404),
    ("/api/features", 200),
    ("/api/users", 200),
    ("/api/settings", 200),
    ("/api/system_stats", 200),
    ("/api/i18n", 200),
    ("/api/extensions", 200),
    ("/api/object_info", 200),
    ("/api/userdata?dir=workflows&recurse=true&split=false&full_info=true", 404),
    ("/api/userdata?dir=subgraphs%2F&recurse=true&split=false&full_info=true", 404),
    ("/api/userdata/comfy.templates.json", 404),
    ("/api/workflow_templates", 200),
    ("/templates/index.json", 200),
    ("/templates/index_logo.json", 200),
    ("/api/experiment/models", 200),
    ("/api/experiment/models/checkpoints", 200),
    ("/api/queue", 200),
    ("/api/history?max_items=64", 200),
    (f"/api/jobs?status={PENDING}&limit=200&offset=0", 200),
    (f"/api/jobs?status={DONE}&limit=64&offset=0", 200),
    ("/api/global_subgraphs", 200),
    ("/api/embeddings", 200),
    ("/internal/files/input", 200),
    ("/internal/logs", 200),
    ("/internal/logs/raw", 200),
    ("/internal/folder_paths", 200),
    ("/api/userdata/workflows%2F.index.json", 404),
    ("/api/prompt", 200),
]
CHANGES = [
    ("POST", "/api/settings/Comfy.InstalledVersion", b'"1.58.1"', 200),
    ("POST", "/api/settings/Comfy.TutorialCompleted", b"true", 200),
    ("POST", "/api/interrupt", b"", 200),
    ("POST", "/api/free", b'{"unload_models": true}', 200),
    ("POST", "/api/queue", b'{"clear": true}', 200),
    ("POST", "/api/history", b'{"clear": true}', 200),
    ("PATCH", "/internal/logs/subscribe", b'{"clientId": "a", "enabled": true}', 200),
    ("POST", "/api/jobs/cancel", b'{"job_ids": ["3f2b8c1e-0000-4000-8000-000000000000"]}', 200),
    ("POST", "/api/prompt", b'{"prompt": {}}', 400),
]


@pytest.mark.parametrize(("path", "status"), START)
async def test_what_is_read_at_the_start(stand, path, status):
    assert (await stand.get(path, headers={"Comfy-User": "default"})).status == status


@pytest.mark.parametrize(("method", "path", "body", "status"), CHANGES)
async def test_what_is_changed_in_use(stand, method, path, body, status):
    headers = {"Comfy-User": "default", "Content-Type": "application/json"}
    assert (await stand.client.request(method, path, data=body, headers=headers)).status == status


async def test_a_workflow_is_saved_renamed_read_and_deleted(stand):
    old, new = "/api/userdata/workflows%2Fa%20b%2F%C3%A4.json", "/api/userdata/workflows%2Fc.json"
    asked = [
        await stand.post(f"{old}?overwrite=true&full_info=false", data=b"{}"),
        await stand.post(f"{old}/move/workflows%2Fc.json?overwrite=true", data=b""),
        await stand.get(new),
        await stand.get("/api/userdata?dir=workflows&recurse=true&split=false&full_info=true"),
        await stand.client.delete(new),
    ]
    assert [answer.status for answer in asked] == [200, 200, 200, 200, 204]
    assert (await asked[3].json())[0]["path"] == "c.json"


async def test_an_uploaded_picture_is_shown_whatever_rand_says(stand):
    form = FormData()
    form.add_field("image", png(), filename="a.png", content_type="image/png")
    assert (await stand.post("/api/upload/image", data=form)).status == 200
    answer = await stand.get("/api/view?filename=a.png&subfolder=&type=input&rand=0.5")
    assert (answer.status, answer.content_type) == (200, "image/png")
    assert await (await stand.get("/internal/files/input")).json() == ["a.png"]
