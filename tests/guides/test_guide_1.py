"""The first guide, a test for each of its sections: the interface list of 2024."""

from __future__ import annotations

import io
import json
import time
import uuid
from pathlib import Path

import pytest
import requests
from PIL import Image

DATA = Path(__file__).parents[1] / "data" / "guides"
PATIENCE_S = 300


def png(mode: str = "RGB", color: tuple[int, ...] = (10, 20, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 4), color).save(buffer, "png")
    return buffer.getvalue()


def photo() -> bytes:
    """A picture of two colours that run into each other."""
    buffer = io.BytesIO()
    red, blue = Image.linear_gradient("L"), Image.radial_gradient("L")
    Image.merge("RGB", (red, blue, red.rotate(90))).save(buffer, "png")
    return buffer.getvalue()


def upload(url: str, route: str = "image", body: bytes | None = None, name: str = "640.png", **fields: str) -> dict:
    files = {"image": (name, body or png(), "image/png")}
    response = requests.post(f"{url}/upload/{route}", files=files, data=fields, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()


def text_to_image() -> dict:
    """The guide's graph, with fewer steps and pixels."""
    graph = json.loads((DATA / "guide_1_text_to_image.json").read_text(encoding="utf-8"))
    graph["3"]["inputs"]["steps"] = 2
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    return graph


def submit(url: str, graph: dict, **fields: object) -> dict:
    response = requests.post(f"{url}/prompt", json={"prompt": graph, **fields}, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def finished(url: str, prompt_id: str) -> dict:
    """The history entry, polled for as the guide says."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        history = requests.get(f"{url}/history/{prompt_id}", timeout=30).json()
        if prompt_id in history:
            return history[prompt_id]
        time.sleep(0.1)
    raise AssertionError(f"{prompt_id} did not end")


# ---------------------------------------------------------------- POST /upload/mask


def test_mask_is_joined_with_its_original(url):
    upload(url, body=png(), subfolder="clipspace", type="input", overwrite="true")
    reference = json.dumps({"filename": "640.png", "type": "input", "subfolder": "clipspace"})
    answer = upload(
        url,
        "mask",
        png("RGBA", (0, 0, 0, 99)),
        type="input",
        subfolder="clipspace",
        original_ref=reference,
        overwrite="true",
    )
    assert answer == {"name": "640.png", "subfolder": "clipspace", "type": "input"}
    shown = requests.get(
        f"{url}/view", params={"filename": "640.png", "type": "input", "subfolder": "clipspace"}, timeout=30
    )
    with Image.open(io.BytesIO(shown.content)) as picture:
        assert (picture.mode, picture.getpixel((0, 0))) == ("RGBA", (10, 20, 30, 99))


def test_mask_as_json_with_a_file_address_is_refused(url):
    body = {
        "image": "file://C:\\Users\\dourungeng\\Pictures\\640.png",
        "type": "input",
        "subfolder": "clipspace",
        "original_ref": {"filename": "640.png", "type": "input", "subfolder": "clipspace"},
    }
    assert requests.post(f"{url}/upload/mask", json=body, timeout=30).status_code == 400


# ---------------------------------------------------------------- POST /upload/image


def test_upload_needs_nothing_but_the_image(url):
    name = f"{uuid.uuid4().hex}.jpg"
    assert upload(url, name=name) == {"name": name, "subfolder": "", "type": "input"}


# ---------------------------------------------------------------- POST /prompt


def test_prompt_answers_id_number_and_no_errors(url):
    answer = submit(url, text_to_image(), client_id="533ef3a3-39c0-4e39-9ced-37d290f371f8")
    assert set(answer) == {"prompt_id", "number", "node_errors"}
    assert str(uuid.UUID(answer["prompt_id"])) == answer["prompt_id"]
    assert isinstance(answer["number"], int)
    assert answer["node_errors"] == {}


def guides_loader(name: str) -> dict:
    body = json.loads((DATA / "guide_1_prompt.json").read_text(encoding="utf-8"))
    node = body["prompt"]["23"]
    assert node["inputs"]["image"].endswith("elephant1.png [input]")
    node["inputs"]["image"] = node["inputs"]["image"].replace("elephant1.png", name)
    save = {"class_type": "SaveImage", "inputs": {"images": ["23", 0], "filename_prefix": "loaded"}}
    return {"23": node, "24": save}


def test_windows_path_with_suffix_loads_the_uploaded_file_of_that_name(url):
    upload(url, name="elephant1.png", overwrite="true")
    entry = finished(url, submit(url, guides_loader("elephant1.png"))["prompt_id"])
    assert entry["status"]["status_str"] == "success"


def test_windows_path_of_a_file_that_was_not_uploaded_is_refused_clearly(url):
    response = requests.post(f"{url}/prompt", json={"prompt": guides_loader("lost.png")}, timeout=60)
    assert response.status_code == 400
    (error,) = response.json()["node_errors"]["23"]["errors"]
    assert error["type"] == "custom_validation_failed"
    assert "upload the file first" in error["details"]


def test_the_guides_own_graph_makes_a_moving_picture(url):
    upload(url, name="elephant1.png", body=photo(), overwrite="true")
    body = json.loads((DATA / "guide_1_prompt.json").read_text(encoding="utf-8"))
    entry = finished(url, submit(url, body["prompt"], client_id=body["client_id"])["prompt_id"])
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    [shown] = entry["outputs"]["24"]["gifs"]
    where = {"filename": shown["filename"], "subfolder": shown["subfolder"], "type": shown["type"]}
    answer = requests.get(f"{url}/view", params=where, timeout=60)
    assert answer.headers["Content-Type"] == "image/gif"
    with Image.open(io.BytesIO(answer.content)) as video:
        assert (video.format, video.size, video.n_frames) == ("GIF", (1024, 576), 14)
        assert video.info["duration"] == pytest.approx(1000 / 6, abs=10)
        first = video.convert("RGB").tobytes()
        video.seek(7)
        assert video.convert("RGB").tobytes() != first


# ---------------------------------------------------------------- GET /prompt


def test_prompt_tells_what_remains(url):
    answer = requests.get(f"{url}/prompt", timeout=30).json()
    assert list(answer) == ["exec_info"]
    assert isinstance(answer["exec_info"]["queue_remaining"], int)


# ---------------------------------------------------------------- GET /view


@pytest.mark.parametrize(
    ("query", "form", "mode"),
    [
        ({}, "PNG", "RGBA"),
        ({"preview": "jpeg;50"}, "JPEG", "RGB"),
        ({"preview": "webp"}, "WEBP", "RGBA"),
        ({"channel": "rgb"}, "PNG", "RGB"),
        ({"channel": "a"}, "PNG", "RGBA"),
    ],
)
def test_view_shows_uploads_with_each_parameter(url, query, form, mode):
    upload(url, body=png("RGBA", (1, 2, 3, 77)), name="seen.png", subfolder="views", overwrite="true")
    where = {"filename": "seen.png", "type": "input", "subfolder": "views"}
    response = requests.get(f"{url}/view", params={**where, **query}, timeout=30)
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.format, picture.mode) == (form, mode)


def test_view_needs_no_subfolder(url):
    upload(url, name="flat.png", overwrite="true")
    response = requests.get(f"{url}/view", params={"filename": "flat.png", "type": "input"}, timeout=30)
    assert (response.status_code, response.content) == (200, png())


# ---------------------------------------------------------------- GET and POST /queue, POST /interrupt


def test_queue_has_both_lists(url):
    answer = requests.get(f"{url}/queue", timeout=30).json()
    assert set(answer) == {"queue_running", "queue_pending"}
    assert all(isinstance(items, list) for items in answer.values())


@pytest.mark.parametrize(("route", "body"), [("queue", {"clear": True}), ("interrupt", None)])
def test_commands_answer_nothing(url, route, body):
    response = requests.post(f"{url}/{route}", json=body, timeout=30)
    assert (response.status_code, response.content) == (200, b"")


# ---------------------------------------------------------------- GET /history


@pytest.fixture
def entry(url) -> tuple[dict, dict]:
    """A finished run of the guide's graph: its history entry and the graph."""
    graph = text_to_image()
    prompt_id = submit(url, graph, client_id="533ef3a3-39c0-4e39-9ced-37d290f371f8")["prompt_id"]
    return finished(url, prompt_id), graph


def test_history_of_an_id_shows_prompt_outputs_and_status(entry):
    shown, graph = entry
    number, prompt_id, prompt, extra_data, targets = shown["prompt"]
    assert isinstance(number, int)
    assert str(uuid.UUID(prompt_id)) == prompt_id
    assert (prompt, targets) == (graph, ["9"])
    assert extra_data["client_id"] == "533ef3a3-39c0-4e39-9ced-37d290f371f8"
    (image,) = shown["outputs"]["9"]["images"]
    assert set(image) == {"filename", "subfolder", "type"}
    assert (shown["status"]["status_str"], shown["status"]["completed"]) == ("success", True)


def test_history_messages_start_as_the_guide_shows(entry):
    messages = entry[0]["status"]["messages"]
    assert [event for event, _ in messages[:2]] == ["execution_start", "execution_cached"]
    assert messages[0][1]["prompt_id"] == entry[0]["prompt"][1]
    assert isinstance(messages[1][1]["nodes"], list)


def test_history_lists_the_workflow_that_was_sent_along(url):
    workflow = {"last_node_id": 9, "nodes": [{"id": 5, "type": "EmptyLatentImage"}], "version": 0.4}
    sent = {"extra_pnginfo": {"workflow": workflow}}
    prompt_id = submit(url, text_to_image(), extra_data=sent)["prompt_id"]
    finished(url, prompt_id)
    shown = requests.get(f"{url}/history", timeout=30).json()[prompt_id]
    assert shown["prompt"][3]["extra_pnginfo"] == sent["extra_pnginfo"]


@pytest.mark.parametrize("path", ["history/", "object_info/"])
def test_headings_with_a_slash_at_their_end_are_no_routes(url, path):
    assert requests.get(f"{url}/{path}", timeout=30).status_code == 404


# ---------------------------------------------------------------- GET /system_stats


def test_system_stats_has_what_the_guide_shows(url):
    stats = requests.get(f"{url}/system_stats", timeout=30).json()
    assert {"os", "python_version", "embedded_python"} <= set(stats["system"])
    device = {"name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
    assert all(device <= set(shown) for shown in stats["devices"])


# ---------------------------------------------------------------- GET /object_info/KSampler


def test_object_info_of_the_sampler(url):
    info = requests.get(f"{url}/object_info/KSampler", timeout=60).json()["KSampler"]
    required = info["input"]["required"]
    guides = ["euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast"]
    guides += ["dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde"]
    guides += ["dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ddim", "uni_pc", "uni_pc_bh2"]
    assert set(guides) <= set(required["sampler_name"][0])
    schedulers = {"normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform"}
    assert schedulers <= set(required["scheduler"][0])
    assert (required["seed"][0], required["seed"][1]["max"]) == ("INT", 2**64 - 1)
    assert (info["output"], info["output_is_list"], info["output_name"]) == (["LATENT"], [False], ["LATENT"])
    assert (info["name"], info["category"], info["output_node"]) == ("KSampler", "sampling", False)
