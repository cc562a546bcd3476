"""/users and /settings, for one user and for many."""

from __future__ import annotations

import asyncio
import re

import pytest


async def test_single_user(stand):
    assert await (await stand.get("/users")).json() == {"storage": "server", "migrated": False}


async def test_adding_a_user_makes_an_id(stand):
    name = await (await stand.post("/users", json={"username": "Ann / B"})).json()
    assert re.fullmatch(r"Ann-B_[0-9a-f-]{36}", name)


async def test_taken_name_is_refused(stand):
    await stand.post("/users", json={"username": "Ann"})
    answer = await stand.post("/users", json={"username": "Ann"})
    assert (answer.status, await answer.json()) == (400, {"error": "Duplicate username."})


@pytest.mark.parametrize("body", [{"name": "x"}, {"username": 1}, {"username": "  "}])
async def test_name_must_be_a_text(stand, body):
    assert (await stand.post("/users", json=body)).status == 400


async def test_settings_one_by_one(stand):
    answer = await stand.post("/settings/a.b", json=5)
    assert (answer.status, await answer.text()) == (200, "")
    assert await (await stand.get("/api/settings/a.b")).json() == 5
    assert await (await stand.get("/settings/none")).json() is None


async def test_settings_merge(stand):
    await stand.post("/settings/a", json=1)
    await stand.post("/settings", json={"b": {"x": [1]}, "c": None})
    assert await (await stand.get("/settings")).json() == {"a": 1, "b": {"x": [1]}, "c": None}


async def test_settings_set_at_once_are_all_kept(stand):
    await asyncio.gather(*(stand.post(f"/settings/s{number}", json=number) for number in range(20)))
    assert len(await (await stand.get("/settings")).json()) == 20


async def test_broken_settings_file_counts_as_empty(stand):
    path = stand.base / "user" / "default" / "comfy.settings.json"
    path.parent.mkdir()
    path.write_text("{broken")
    assert await (await stand.get("/settings")).json() == {}


@pytest.mark.parametrize("path", ["/settings", "/settings/a"])
async def test_unreadable_setting_is_refused(stand, path):
    assert (await stand.post(path, data="{not json")).status == 400


async def test_users_have_their_own_settings(make_stand):
    stand = await make_stand(multi_user=True)
    ann = await (await stand.post("/users", json={"username": "Ann"})).json()
    await stand.post("/settings/a", json=1, headers={"comfy-user": ann})
    bob = await (await stand.post("/users", json={"username": "Bob"})).json()
    assert await (await stand.get("/settings", headers={"comfy-user": bob})).json() == {}
    assert await (await stand.get("/users")).json() == {"storage": "server", "users": {ann: "Ann", bob: "Bob"}}


@pytest.mark.parametrize(("path", "status"), [("/settings", 401), ("/userdata?dir=a", 401), ("/v2/userdata", 403)])
async def test_unknown_user_is_refused(make_stand, path, status):
    stand = await make_stand(multi_user=True)
    assert (await stand.get(path, headers={"comfy-user": "../default"})).status == status


async def test_header_is_ignored_for_a_single_user(stand):
    await stand.post("/settings/a", json=1, headers={"comfy-user": "somebody"})
    assert await (await stand.get("/settings/a")).json() == 1
