"""The official web front end, used as a person uses it. Each test also fails if the page complains of anything."""

from __future__ import annotations

import io
import json
import os
import re
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.ui

ROOT = Path(__file__).parents[2]
GRAPH = ROOT / "examples" / "text_to_image.json"
NODES = len(json.loads(GRAPH.read_text(encoding="utf-8")))
SCREENSHOT = ROOT / "docs" / "frontend.png"
ENDLESS = 10000
"""Steps of a sampler that nobody waits for."""


def picture() -> bytes:
    """A small picture."""
    body = io.BytesIO()
    Image.new("RGB", (64, 48), (1, 120, 200)).save(body, "PNG")
    return body.getvalue()


def fetched(url: str) -> Image.Image:
    """The picture at an address."""
    with urllib.request.urlopen(url) as answer:
        return Image.open(io.BytesIO(answer.read()))


# ---------------------------------------------------------------- graphs and runs


def test_a_graph_built_by_hand_draws_its_picture(person):
    person.start_afresh()
    checkpoint = person.add("CheckpointLoaderSimple", "Load Checkpoint", (100, 150))
    wanted = person.add("CLIPTextEncode", "CLIP Text Encode", (500, 100))
    unwanted = person.add("CLIPTextEncode", "CLIP Text Encode", (500, 400))
    latent = person.add("EmptyLatentImage", "Empty Latent Image", (100, 400))
    sampler = person.add("KSampler", "KSampler", (980, 100))
    decoder = person.add("VAEDecode", "VAE Decode", (1330, 100))
    saved = person.add("SaveImage", "Save Image", (1330, 300))
    person.link(checkpoint, "MODEL", sampler, "model")
    person.link(checkpoint, "CLIP", wanted, "clip")
    person.link(checkpoint, "CLIP", unwanted, "clip")
    person.link(checkpoint, "VAE", decoder, "vae")
    person.link(wanted, "CONDITIONING", sampler, "positive")
    person.link(unwanted, "CONDITIONING", sampler, "negative")
    person.link(latent, "LATENT", sampler, "latent_image")
    person.link(sampler, "LATENT", decoder, "samples")
    person.link(decoder, "IMAGE", saved, "images")
    person.page.locator("textarea.comfy-multiline-input").first.fill("a yellow star on a blue background")
    person.set(latent, "width", 64)
    person.set(latent, "height", 64)
    person.set(sampler, "steps", 2)
    person.run()
    person.seen.until("execution_success")
    person.pictured("SaveImage")


def test_the_first_visit_offers_the_demo_which_runs(newcomer):
    newcomer.page.get_by_role("dialog").get_by_role("heading", name="Text to Image", exact=True).click()
    newcomer.loaded(7)
    newcomer.run()
    newcomer.seen.until("execution_success")
    newcomer.pictured("SaveImage")
    if os.environ.get("WEFT_SCREENSHOT") and not newcomer.old:
        newcomer.photograph(SCREENSHOT)


def test_previews_appear_on_the_sampler_and_the_button_cancels(person):
    person.load(GRAPH, NODES)
    person.set(person.node("KSampler"), "steps", ENDLESS)
    person.run()
    person.seen.until("preview", 2)
    person.pictured("KSampler")
    person.button("Cancel current run").click()
    person.seen.until("execution_interrupted")
    assert "execution_success" not in person.seen.events


def test_a_graph_of_the_api_is_dropped_and_its_picture_stands_in_the_gallery(person):
    person.load(GRAPH, NODES)
    person.set(person.node("SaveImage"), "filename_prefix", "gallery")
    person.set(person.node("KSampler"), "steps", 2)
    person.run()
    person.seen.until("execution_success")
    person.pictured("SaveImage")
    person.button("Queue (q)" if person.old else "Assets (a)").click()
    person.until("() => [...document.querySelectorAll('img[src*=gallery_00001_]')].some((i) => i.naturalWidth)")
    shown = [path for _, _, path in person.seen.answers if re.match(r"/api/view\?.*filename=gallery_00001_\.png", path)]
    image = fetched(person.seen.url + shown[0])
    assert (image.format, image.size) == ("PNG", (128, 128))


def test_a_graph_that_cannot_run_is_refused_and_its_node_marked(person):
    person.seen.allowed += [re.compile(r"POST /api/prompt: 400"), re.compile(r"\w*Error: Prompt execution failed")]
    person.load(GRAPH, NODES)
    sampler = person.node("KSampler")
    person.page.evaluate("(id) => window.app.graph.getNodeById(id).disconnectInput(0)", sampler)
    person.run()
    marked = "node.has_errors || node.inputs[0].hasErrors"
    person.until(f"([id]) => {{ const node = window.app.graph.getNodeById(id); return {marked} }}", sampler)


def test_a_picture_chosen_in_load_image_is_uploaded_and_used(person):
    person.start_afresh()
    source = person.add("LoadImage", "Load Image", (150, 250))
    sink = person.add("PreviewImage", "Preview Image", (700, 250))
    person.link(source, "IMAGE", sink, "images")
    with person.page.expect_file_chooser() as asked:
        person.press(source, "upload")
    asked.value.set_files({"name": "chosen.png", "mimeType": "image/png", "buffer": picture()})
    person.pictured("LoadImage")
    person.run()
    person.seen.until("execution_success")
    person.pictured("PreviewImage")


# ---------------------------------------------------------------- what is kept


def test_a_workflow_saved_under_a_name_is_opened_after_a_reload(person):
    person.load(GRAPH, NODES)
    person.set(person.node("KSampler"), "seed", 4711)
    person.save_as("kept ä")
    person.open()
    person.start_afresh()
    person.open_workflow("kept ä")
    person.until("([count]) => window.app.graph.nodes.length === count", NODES)
    assert person.value(person.node("KSampler"), "seed") == 4711


def test_a_setting_changed_in_the_dialog_is_there_after_a_reload(person):
    switch = person.setting("clearing workflow")
    before = switch.is_checked()
    switch.click()
    person.wait(lambda: ("POST", 200, "/api/settings/Comfy.ConfirmClear") in person.seen.answers, "the setting is sent")
    person.open()
    assert person.setting("clearing workflow").is_checked() is not before


# ---------------------------------------------------------------- what the page is made of


def test_a_reload_asks_for_its_own_files_and_id_again(twice):
    opened = [number for number, row in enumerate(twice.seen.answers) if row == ("GET", 200, "/")]
    assert len(opened) == len(twice.seen.sockets) == 2
    assert 304 in {status for _, status, path in twice.seen.answers[opened[1] :] if path.startswith("/assets/")}
    assert "clientId=" in twice.seen.sockets[1]


def test_scripts_come_as_javascript(twice):
    scripts = {path: kind for path, kind in twice.seen.types.items() if re.search(r"\.m?js(\?|$)", path)}
    assert scripts
    assert set(scripts.values()) == {"text/javascript"}


def test_the_script_of_a_pack_runs_in_the_page(twice):
    twice.until("() => document.body.dataset.weftPack === 'is here'")


def test_the_log_is_shown_in_the_panel_below(twice):
    twice.button("Toggle Bottom Panel").click()
    twice.page.locator(".xterm-screen").first.wait_for()
    twice.wait(lambda: ("GET", 200, "/internal/logs/raw") in twice.seen.answers, "the log is asked for")
