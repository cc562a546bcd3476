"""GET /system_stats, /features, /health, /ready."""

from __future__ import annotations


async def test_versions(stand):
    system = (await (await stand.get("/system_stats")).json())["system"]
    assert system["comfyui_version"] == "0.3.64"
    assert system["pytorch_version"] == "9.9"
    assert isinstance(system["weft_version"], str)


async def test_devices_are_those_of_the_worker(stand):
    (device,) = (await (await stand.get("/api/system_stats")).json())["devices"]
    assert device == {
        "name": "cpu",
        "type": "cpu",
        "index": None,
        "vram_total": 8,
        "vram_free": 4,
        "torch_vram_total": 8,
        "torch_vram_free": 4,
    }


async def test_there_is_a_device_before_any_worker(make_stand):
    stand = await make_stand(ready=False)
    (device,) = (await (await stand.get("/system_stats")).json())["devices"]
    assert (device["name"], device["index"]) == ("cpu", None)


async def test_features(make_stand):
    stand = await make_stand(max_upload_mb=2)
    features = await (await stand.get("/features")).json()
    assert features == {"supports_preview_metadata": True, "max_upload_size": 2 * 1024 * 1024}


async def test_health_lists_workers(stand):
    body = await (await stand.get("/health")).json()
    assert (body["status"], body["workers"]) == ("ok", [{"id": "w", "state": "idle", "pid": 1}])


async def test_ready_once_a_worker_is_up(stand):
    assert (await stand.get("/ready")).status == 200


async def test_not_ready_while_the_worker_starts(make_stand):
    stand = await make_stand(ready=False)
    answer = await stand.get("/ready")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
