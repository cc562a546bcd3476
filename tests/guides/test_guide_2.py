"""The second guide, a test for each of its sections; its functions, its class and its listener run as they are."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import pytest
import requests

PATIENCE_S = 300
LATENT = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}


def names_of(source: str) -> dict:
    """What the code defines."""
    names: dict = {"__name__": "guide"}
    exec(compile(source, "guide_2", "exec"), names)
    return names


def whole(workflow: dict, sampler: str) -> dict:
    """The guide's graph with the `latent_image` that it lacks, and fewer steps."""
    workflow[sampler]["inputs"] |= {"latent_image": ["9", 0], "steps": 2, "seed": uuid.uuid4().int % 2**32}
    return {**workflow, "9": LATENT}


@pytest.fixture
def functions(code):
    """The functions of the synchronous example, for a server; `workflow` is the example's graph, made whole."""

    def make(address: str, *, index: int) -> dict:
        source = code("synchronous", address)
        definitions, _, rest = source.partition("# ========== 使用示例")
        workflow = rest[: rest.index("# 提交工作流")].partition("\n")[2]
        names = names_of(definitions.replace("item[0]", f"item[{index}]") + workflow)
        names["workflow"] = whole(names["workflow"], "4")
        return names

    return make


@pytest.fixture
def client_class(code):
    """The class of the last example."""

    def make(address: str, *, index: int) -> object:
        source = code("client_class", address)
        return names_of(source.replace("item[0]", f"item[{index}]"))["ComfyUIClient"](address)

    return make


@pytest.fixture
def workflow(functions, url) -> dict:
    """The synchronous example's graph, made whole."""
    return functions(url, index=1)["workflow"]


def done(url: str, prompt_id: str) -> dict:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        history = requests.get(f"{url}/history/{prompt_id}", timeout=30).json()
        if history:
            return history[prompt_id]
        time.sleep(0.1)
    raise AssertionError(f"{prompt_id} did not end")


def slow(size: int = 1024) -> dict:
    """A graph that keeps the worker busy until it is interrupted."""
    color = uuid.uuid4().int % 0xFFFFFF
    empty = {"width": size, "height": size, "batch_size": 1, "color": color}
    graph = {"1": {"class_type": "EmptyImage", "inputs": empty}}
    last = "1"
    for number in range(60):
        edge = 2048 + 8 * (number % 2)
        inputs = {"image": [last, 0], "upscale_method": "lanczos", "width": edge, "height": edge, "crop": "disabled"}
        last = f"r{number}"
        graph[last] = {"class_type": "ImageScale", "inputs": inputs}
    return {**graph, "end": {"class_type": "PreviewImage", "inputs": {"images": [last, 0]}}}


# ---------------------------------------------------------------- basics


@pytest.mark.parametrize("path", ["/prompt", "/queue", "/history", "/object_info/KSampler", "/models"])
def test_each_path_has_its_twin(url, path):
    plain, twin = (requests.get(f"{url}{prefix}{path}", timeout=60) for prefix in ("", "/api"))
    assert plain.status_code == 200
    assert twin.json() == plain.json()


# ---------------------------------------------------------------- nodes


def test_object_info_lists_every_class(url, code, capsys):
    names = names_of(code("object_info", url))
    assert {"KSampler", "CLIPTextEncode", "SaveImage", "CheckpointLoaderSimple"} <= set(names["nodes_info"])
    assert "KSampler" in capsys.readouterr().out


def test_object_info_of_a_class(url, code):
    info = names_of("import requests\n" + code("object_info_of_a_class", url))["ksampler_info"]
    assert list(info) == ["KSampler"]
    assert info["KSampler"]["input"]["required"]["steps"][1]["max"] == 10000


# ---------------------------------------------------------------- submit


def test_submit_answers_id_number_and_no_errors(url, workflow):
    body = {"prompt": workflow, "client_id": "my_client_001"}
    answer = requests.post(f"{url}/prompt", json=body, timeout=60).json()
    assert str(uuid.UUID(answer["prompt_id"])) == answer["prompt_id"]
    assert (isinstance(answer["number"], int), answer["node_errors"]) == (True, {})
    done(url, answer["prompt_id"])


def test_submit_takes_an_id_of_the_clients(url, workflow):
    chosen = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
    answer = requests.post(f"{url}/prompt", json={"prompt": workflow, "prompt_id": chosen}, timeout=60).json()
    assert answer["prompt_id"] == chosen
    done(url, chosen)


def test_submit_example_lacks_its_latent(url, code):
    """The guide's graph as it stands: refused as ComfyUI refuses it."""
    source = code("submit", url)
    graph = names_of(source[: source.index("response =")])["workflow"]
    response = requests.post(f"{url}/prompt", json={"prompt": graph}, timeout=60)
    (error,) = response.json()["node_errors"]["3"]["errors"]
    assert (response.status_code, error["type"]) == (400, "required_input_missing")
    assert error["extra_info"]["input_name"] == "latent_image"


def test_links_name_node_and_output(url, workflow):
    assert workflow["5"]["inputs"]["vae"] == ["1", 2]
    workflow["5"]["inputs"]["vae"] = ["1", 1]
    response = requests.post(f"{url}/prompt", json={"prompt": workflow}, timeout=60)
    (error,) = response.json()["node_errors"]["5"]["errors"]
    assert error["type"] == "return_type_mismatch"


# ---------------------------------------------------------------- the queue


def running(url: str) -> list:
    """The ids of what runs, whatever the form of the items."""
    queue = requests.get(f"{url}/queue", timeout=30).json()
    return [text for item in queue["queue_running"] for text in item[:2] if isinstance(text, str)]


def come_to_rest(url: str) -> None:
    """Empty the queue, stop what runs and wait until nothing does: an interrupt takes effect at a node's end."""
    deadline = time.monotonic() + PATIENCE_S
    requests.post(f"{url}/queue", json={"clear": True}, timeout=30)
    while running(url):
        requests.post(f"{url}/interrupt", timeout=30)
        assert time.monotonic() < deadline, "the queue does not come to rest"
        time.sleep(0.05)


@pytest.fixture
def busy(url):
    """The id of a prompt that runs and of one that waits; both are gone afterwards."""
    come_to_rest(url)
    ids = [requests.post(f"{url}/prompt", json={"prompt": slow()}, timeout=60).json()["prompt_id"] for _ in range(2)]
    deadline = time.monotonic() + PATIENCE_S
    while ids[0] not in running(url):
        assert time.monotonic() < deadline
    yield ids
    come_to_rest(url)


def pending(url: str) -> list:
    return [item[1] for item in requests.get(f"{url}/queue", timeout=30).json()["queue_pending"]]


def test_queue_counts_what_runs_and_waits(url, code, busy, capsys):
    names_of("import requests\n" + code("queue", url))
    assert capsys.readouterr().out.split() == ["正在运行:", "1", "等待中:", "1"]


def test_queue_items_have_the_guides_form_where_the_flag_says_so(id_first_url):
    come_to_rest(id_first_url)
    graph = slow()
    prompt_id = requests.post(f"{id_first_url}/prompt", json={"prompt": graph}, timeout=60).json()["prompt_id"]
    queue = requests.get(f"{id_first_url}/queue", timeout=30).json()
    come_to_rest(id_first_url)
    ((shown_id, number, when),) = queue["queue_running"] + queue["queue_pending"]
    assert shown_id == prompt_id
    assert isinstance(number, int)
    assert abs(when - time.time()) < PATIENCE_S


def test_clear_empties_the_queue(url, code, busy):
    names_of("import requests\n" + code("clear", url))
    assert pending(url) == []


def test_delete_removes_the_prompts_named(url, code, busy):
    source = code("delete", url)
    exec(source, {"requests": requests, "prompt_id": busy[1]})
    assert busy[1] not in pending(url)


def test_interrupt_of_all_and_of_one(url, code, busy):
    exec(code("interrupt", url), {"requests": requests, "prompt_id": busy[0]})
    assert not done(url, busy[0])["status"]["completed"]


# ---------------------------------------------------------------- history, state, models


def test_history_windows(url, workflow):
    ids = []
    for _ in range(2):
        workflow["4"]["inputs"]["seed"] += 1
        ids.append(requests.post(f"{url}/prompt", json={"prompt": workflow}, timeout=60).json()["prompt_id"])
    done(url, ids[1])
    everything = list(requests.get(f"{url}/history", timeout=30).json())
    assert everything[-2:] == ids
    assert list(requests.get(f"{url}/history?max_items=1", timeout=30).json()) == ids[1:]
    assert list(requests.get(f"{url}/history?offset=0", timeout=30).json()) == everything
    assert list(requests.get(f"{url}/history?max_items=1&offset=0", timeout=30).json()) == everything[:1]


def test_history_of_an_id_names_the_pictures(url, code, workflow, capsys):
    prompt_id = requests.post(f"{url}/prompt", json={"prompt": workflow}, timeout=60).json()["prompt_id"]
    done(url, prompt_id)
    exec(code("history", url), {"requests": requests, "prompt_id": prompt_id})
    assert "图片: API_" in capsys.readouterr().out


def test_system_stats_has_what_the_guide_shows(url):
    stats = requests.get(f"{url}/system_stats", timeout=30).json()
    system = {"os", "ram_total", "ram_free", "comfyui_version", "python_version", "pytorch_version"}
    assert system <= set(stats["system"])
    assert all({"name", "type", "vram_total", "vram_free"} <= set(device) for device in stats["devices"])


def test_models_are_listed_by_kind(url, code):
    names = names_of("import requests\n" + code("models", url))
    assert {"checkpoints", "loras", "embeddings"} <= set(names["model_types"])
    assert "v1-5-pruned-emaonly.safetensors" in names["checkpoints"]


# ---------------------------------------------------------------- whole examples


@pytest.mark.parametrize(("server", "index"), [("id_first_url", 0), ("url", 1)])
def test_synchronous_functions(request, functions, tmp_path, server, index):
    example = functions(request.getfixturevalue(server), index=index)
    prompt_id = example["submit_workflow"](example["workflow"])
    result = example["wait_for_completion"](prompt_id)
    assert list(result) == [prompt_id]
    (image,) = example["get_generated_images"](prompt_id)
    path = example["download_image"](image, output_path=str(tmp_path))
    with open(path, "rb") as file:
        assert file.read(4) == b"\x89PNG"


@pytest.mark.parametrize(("server", "index"), [("id_first_url", 0), ("url", 1)])
def test_client_class(request, client_class, workflow, tmp_path, server, index):
    client = client_class(request.getfixturevalue(server), index=index)
    (saved,) = client.execute(workflow, output_dir=str(tmp_path))
    assert saved.startswith(f"{tmp_path}/API_")
    assert client.get_history()
    client.interrupt()
    client.interrupt("unknown")
    client.clear_queue()
    assert client.get_queue() == {"queue_running": [], "queue_pending": []}


def test_client_class_with_its_empty_workflow_is_refused(url, client_class):
    with pytest.raises(requests.HTTPError, match="400"):
        client_class(url, index=1).execute({})


async def test_websocket_listener_tells_the_steps(url, code, workflow):
    """Its address lacks the f-prefix: the id is literally {client_id}, and any text is an id."""
    source = code("websocket", url).replace("ws://127.0.0.1:8188", url.replace("http", "ws"))
    said: list[str] = []
    greeted, finished = asyncio.Event(), asyncio.Event()

    def hear(text: str) -> None:
        said.append(text)
        greeted.set()
        if text == "执行完成":
            finished.set()

    names: dict = {"print": hear}
    exec(source[: source.index("# 运行监听")], names)
    listening = asyncio.create_task(names["listen_websocket"]())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await greeted.wait()
            body = {"prompt": workflow, "client_id": "{client_id}"}
            await asyncio.to_thread(requests.post, f"{url}/prompt", json=body, timeout=60)
            await finished.wait()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert "正在执行节点: 4" in said
    assert "进度: 2/2" in said
    assert "节点执行完成: 6" in said
    assert said[0].startswith("队列状态: 剩余 ")


# ---------------------------------------------------------------- questions and statuses


def test_prefix_decides_where_pictures_are_saved(url, workflow):
    workflow["6"]["inputs"]["filename_prefix"] = "guide/picture"
    prompt_id = requests.post(f"{url}/prompt", json={"prompt": workflow}, timeout=60).json()["prompt_id"]
    (image,) = done(url, prompt_id)["outputs"]["6"]["images"]
    assert (image["subfolder"], image["filename"][:8], image["type"]) == ("guide", "picture_", "output")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/queue", 200),
        ("/history?max_items=x", 400),
        ("/view?filename=a.png&subfolder=../..", 403),
        ("/view?filename=lost.png", 404),
        ("/models/unknown", 404),
    ],
)
def test_statuses_of_the_appendix(url, path, status):
    assert requests.get(f"{url}{path}", timeout=30).status_code == status


def test_graphs_in_api_form_need_class_and_inputs_only(url, workflow):
    assert all(set(node) == {"class_type", "inputs"} for node in json.loads(json.dumps(workflow)).values())
