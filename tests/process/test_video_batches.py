"""A video made in batches on a real server: a prompt for each, the next one before all that waits, one file at last."""

from __future__ import annotations

import json
import time
from pathlib import Path

import av
import numpy as np
import pytest
import requests
from PIL import Image

from tests.serving import serving

PATIENCE_S = 300
FRAMES, BATCH, SIDE = 5, 2, 32


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with five grey pictures, and a video of them."""
    base = tmp_path_factory.mktemp("batches")
    (base / "input" / "greys").mkdir(parents=True)
    greys = [np.full((SIDE, SIDE, 3), 40 * number + 20, np.uint8) for number in range(FRAMES)]
    for number, grey in enumerate(greys):
        Image.fromarray(grey).save(base / "input" / "greys" / f"{number}.png")
    with av.open(base / "input" / "greys.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=8, width=SIDE, height=SIDE, pix_fmt="bgr0")
        for grey in greys:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return base


@pytest.fixture(scope="module")
def url(base):
    """The address of a server on that folder."""
    with serving(base, "--cpu") as address:
        yield address


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


LOADERS = {
    "pictures": node("VHS_LoadImages", directory="greys", meta_batch=["1", 0]),
    "video": node(
        "VHS_LoadVideo", video="greys.mkv", force_rate=0, custom_width=0, custom_height=0, frame_load_cap=0,
        skip_first_frames=0, select_every_nth=1, format="None", meta_batch=["1", 0],
    ),
    "video with a cap": node(
        "VHS_LoadVideo", video="greys.mkv", force_rate=0, custom_width=0, custom_height=0, frame_load_cap=3,
        skip_first_frames=1, select_every_nth=1, format="None", meta_batch=["1", 0],
    ),
}  # fmt: skip
SHOWN = {"pictures": [0, 1, 2, 3, 4], "video": [0, 1, 2, 3, 4], "video with a cap": [1, 2, 3]}


def graph(loader, kind="video/h264-mp4", size=BATCH, prefix="x"):
    combined = {"frame_rate": 8, "loop_count": 0, "pingpong": False, "save_output": True}
    return {
        "1": node("VHS_BatchManager", frames_per_batch=size),
        "2": LOADERS[loader],
        "3": node("ImageInvert", image=["2", 0]),
        "4": node(
            "VHS_VideoCombine", images=["3", 0], meta_batch=["1", 0], filename_prefix=prefix, format=kind, **combined
        ),
    }


def posted(url, prompt):
    answer = requests.post(f"{url}/prompt", json={"prompt": prompt}, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return answer.json()["prompt_id"]


def until_idle(url):
    """The history once nothing runs or waits, in the order in which prompts ended."""
    deadline = time.monotonic() + PATIENCE_S
    while requests.get(f"{url}/prompt", timeout=PATIENCE_S).json()["exec_info"]["queue_remaining"]:
        assert time.monotonic() < deadline, "the queue does not empty"
        time.sleep(0.05)
    return requests.get(f"{url}/history", timeout=PATIENCE_S).json()


def states(history):
    return [entry["status"]["status_str"] for entry in history.values()]


@pytest.mark.parametrize("loader", LOADERS)
def test_each_batch_is_a_prompt_and_the_last_one_writes_all_frames(url, base, loader):
    requests.post(f"{url}/history", json={"clear": True}, timeout=PATIENCE_S)
    first = posted(url, graph(loader, "video/8bit-png", prefix=loader))
    history = until_idle(url)
    *earlier, last = history.values()
    assert states(history) == ["success"] * -(-len(SHOWN[loader]) // BATCH)
    assert history[first]["outputs"]["4"] == {"unfinished_batch": [True]}
    assert all(entry["outputs"]["4"] == {"unfinished_batch": [True]} for entry in earlier)
    [shown] = last["outputs"]["4"]["gifs"]
    found = [np.asarray(Image.open(path)) for path in sorted((base / "output").glob(f"{loader}_00001.*.png"))]
    assert shown["filename"] == f"{loader}_00001.%03d.png"
    assert [int(picture[0, 0, 0]) for picture in found] == [255 - (40 * number + 20) for number in SHOWN[loader]]


def test_what_waits_is_drawn_after_the_whole_series(url):
    requests.post(f"{url}/history", json={"clear": True}, timeout=PATIENCE_S)
    posted(url, graph("pictures"))
    other = posted(
        url,
        {
            "1": node("EmptyImage", width=8, height=8, batch_size=1, color=77),
            "2": node("PreviewImage", images=["1", 0]),
        },
    )
    history = until_idle(url)
    assert list(history)[-1] == other
    assert len(history) == 4


def test_the_workflow_in_the_file_is_the_one_that_was_submitted(url, base):
    posted(url, graph("pictures", size=3, prefix="kept"))
    until_idle(url)
    with av.open(base / "output" / "kept_00001.mp4") as container:
        kept = json.loads(container.metadata["prompt"])
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert kept["1"]["inputs"] == {"frames_per_batch": 3}


def test_nothing_stays_in_the_temp_folder(url, base):
    until_idle(url)
    assert not list(Path(base).glob("temp/**/*.npy.gz"))


def test_formats_without_batches_are_refused_and_nothing_follows(url):
    requests.post(f"{url}/history", json={"clear": True}, timeout=PATIENCE_S)
    posted(url, graph("pictures", "image/gif"))
    [entry] = until_idle(url).values()
    message = entry["status"]["messages"][-1][1]["exception_message"]
    assert message.startswith("input 'format': image/gif cannot be made in batches; choose one of video/")
