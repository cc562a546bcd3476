"""A client with requests: submit a graph, poll /queue and /history/{id}, download through /view.

Run it beside a server (`make run`):  .venv/bin/python examples/guide2_client.py [--url URL] [--folder FOLDER]
The key of a server that asks for one is read from the environment: WEFT_TOKEN.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import requests

Graph = dict[str, dict[str, object]]
Saved = dict[str, str]

WORKFLOW: Graph = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "weft-demo.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a yellow star on a purple background", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
    "4": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 12345,
            "steps": 20,
            "cfg": 5,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["7", 0],
        },
    },
    "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "API"}},
    "7": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
}


def headers() -> dict[str, str]:
    """What a server with keys wants to see: the key that the environment holds."""
    token = os.environ.get("WEFT_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def ask(server: str, path: str, **names: str) -> requests.Response:
    """What the server answers to a GET."""
    response = requests.get(f"{server}{path}", params=names, headers=headers(), timeout=60)
    response.raise_for_status()
    return response


def submit_workflow(server: str, workflow: Graph, client_id: str = "python_client") -> str:
    """Put a graph into the queue and return the id of the prompt."""
    response = requests.post(
        f"{server}/prompt", json={"prompt": workflow, "client_id": client_id}, headers=headers(), timeout=120
    )
    if response.status_code == 400:
        sys.exit(f"The server refused the graph: {response.text}")
    response.raise_for_status()
    return str(response.json()["prompt_id"])


def wait_for_completion(server: str, prompt_id: str, timeout: float = 300) -> dict[str, object]:
    """Poll until the prompt has left the queue; return its history entry."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        queue = ask(server, "/queue").json()
        # A queue item is [number, prompt_id, graph, extra_data, outputs]: the id stands at index 1.
        waiting = {item[1] for item in queue["queue_running"] + queue["queue_pending"]}
        if prompt_id not in waiting:
            history = ask(server, f"/history/{prompt_id}").json()
            return dict(history[prompt_id])
        time.sleep(0.5)
    raise TimeoutError(f"prompt {prompt_id} did not end within {timeout:g} s")


def get_generated_images(entry: dict[str, object]) -> list[Saved]:
    """The files that a finished prompt saved, as /view wants them named."""
    outputs = entry["outputs"]
    assert isinstance(outputs, dict)
    return [image for output in outputs.values() for image in output.get("images", [])]


def download_image(server: str, image: Saved, folder: Path) -> Path:
    """Fetch one picture into a folder and return its path."""
    names = {key: image[key] for key in ("filename", "subfolder", "type")}
    path = folder / image["filename"]
    path.write_bytes(ask(server, "/view", **names).content)
    return path


def draw(server: str, folder: Path) -> None:
    """Draw one picture and say where it lies."""
    prompt_id = submit_workflow(server, WORKFLOW)
    print(f"Submitted as {prompt_id}; waiting.")
    entry = wait_for_completion(server, prompt_id)
    status = entry["status"]
    assert isinstance(status, dict)
    if status["status_str"] != "success":
        event, data = status["messages"][-1]  # execution_error or execution_interrupted
        sys.exit(f"{event} at node {data['node_id']}: {data.get('exception_message', '')}")
    images = get_generated_images(entry)
    print(f"{len(images)} picture(s).")
    for image in images:
        print(f"Saved {download_image(server, image, folder)}")


def hindrance(url: str, error: Exception) -> str:
    """What hindered the client, and what helps, as a sentence."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConnectionRefusedError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return f"No server answers at {url}: start one with `make run`, or give its address by --url."
    if isinstance(error, requests.HTTPError) and error.response.status_code in (401, 403):
        return f"The server at {url} asks for a key that may do this: give it as WEFT_TOKEN in the environment."
    return f"{url}: {error}"


def main() -> None:
    """Draw as the command line says; what fails is told in a sentence."""
    parser = argparse.ArgumentParser(description="Draws a yellow star, asking again and again whether it is there.")
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="address of the server")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the picture goes")
    told = parser.parse_args()
    try:
        draw(told.url.rstrip("/"), told.folder)
    except (requests.RequestException, TimeoutError, OSError) as error:
        sys.exit(hindrance(told.url, error))


if __name__ == "__main__":
    main()
