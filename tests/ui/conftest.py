"""A real server with the demo's checkpoint, and the official front end in Chromium, used once for each release."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request, Response, WebSocket

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"
GRAPH = ROOT / "examples" / "text_to_image.json"
OLD = "1.27.10"
"""The release of the front end that ComfyUI 0.3.64 asks for."""
OLD_NEEDS = {"LoraLoader", "VAELoader", "ControlNetLoader", "UNETLoader", "UpscaleModelLoader", "StyleModelLoader"}
"""Classes without which that release draws no list of files on any node."""
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # release notes and the like: no network in tests
]
SHOW_ALL = """() => {
    const canvas = window.app.canvas, nodes = window.app.graph.nodes
    const left = Math.min(...nodes.map((n) => n.pos[0])), right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0]))
    const top = Math.min(...nodes.map((n) => n.pos[1])), bottom = Math.max(...nodes.map((n) => n.pos[1] + n.size[1]))
    const {clientWidth: width, clientHeight: height} = canvas.canvas
    canvas.ds.scale = 0.85 * Math.min(width / (right - left), height / (bottom - top + 200))
    const half = 0.5 / canvas.ds.scale
    canvas.ds.offset = [width * half - (left + right) / 2, height * half - (top + bottom) / 2]
    canvas.setDirty(true, true)
}"""
"""Show the whole graph: pictures on nodes out of sight are not loaded."""
PATIENCE_S = 180.0


@dataclass
class Seen:
    """What a browser saw of a server while the front end was used."""

    url: str
    page: Page
    release: str
    answers: list[tuple[str, int, str]] = field(default_factory=list)  # method, status, address without host
    types: dict[str, str] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)  # websocket: event types, "preview" for binary frames
    sockets: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note everything from now on."""
        self.page.on("response", self._answer)
        self.page.on("requestfailed", self._failure)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("websocket", self._socket)

    def _answer(self, response: Response) -> None:
        if response.url.startswith(self.url):
            path = response.url.removeprefix(self.url)
            self.answers.append((response.request.method, response.status, path))
            if response.status != 304:  # "not modified" names no type
                self.types[path] = response.headers.get("content-type", "")

    def _failure(self, request: Request) -> None:
        path = request.url.removeprefix(self.url)
        if request.url.startswith(self.url) and not any(path == answered for _, _, answered in self.answers):
            self.unanswered.append(f"{request.method} {path}: {request.failure}")

    def _console(self, message: ConsoleMessage) -> None:
        # "Failed to load resource" is said of each answer of 400 or more: those are looked at as answers.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        socket.on("framereceived", self._frame)

    def _frame(self, frame: str | bytes) -> None:
        self.events.append(str(json.loads(frame)["type"]) if isinstance(frame, str) else "preview")

    def until(self, event: str, count: int = 1) -> None:
        """Wait for the websocket event to have come so often."""
        for _ in range(int(PATIENCE_S * 5)):
            if self.events.count(event) >= count:
                return
            self.page.wait_for_timeout(200)
        pytest.fail(f"no {event} in {PATIENCE_S:g} s; complaints: {self.complaints}")


def chromium() -> str:
    """The browser's path; skips without one."""
    found = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    return found or pytest.skip("Chromium is not installed (nor named in CHROMIUM)")


def front_end(release: str) -> tuple[str, list[str]]:
    """The release's number, and the server's flags for it; skips if it is not here."""
    if release == OLD:
        folder = os.environ.get("WEFT_OLD_FRONT_END")
        return (OLD, ["--front-end-root", folder]) if folder else pytest.skip(f"WEFT_OLD_FRONT_END: no {OLD} named")
    try:
        return version("comfyui-frontend-package"), []
    except PackageNotFoundError:
        return pytest.skip("comfyui-frontend-package is not installed: make test-ui installs it")


@contextlib.contextmanager
def serve(base: Path, flags: list[str]) -> Iterator[str]:
    """A server with the demo's checkpoint on a free port; gives its address."""
    target = base / "models" / "checkpoints" / CHECKPOINT.name
    target.parent.mkdir(parents=True)
    shutil.copy(CHECKPOINT, target)
    command = [sys.executable, "-m", "server", "--base-directory", str(base), "--port", "0", "--cpu", *flags]
    with (base / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline()
        assert "http://" in line, (base / "log.txt").read_text()
        yield line[line.index("http://") :].strip()
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.stdout.close()


def classes(url: str) -> set[str]:
    """The nodes of a server."""
    with urllib.request.urlopen(url + "/object_info", timeout=PATIENCE_S) as answer:
        return set(json.load(answer))


def open_page(seen: Seen) -> None:
    """Open the front end and wait until it can be used."""
    opened = seen.events.count("status")
    seen.page.goto(seen.url + "/")
    seen.page.wait_for_function("() => window.app?.graph && window.app?.canvas")
    seen.until("status", opened + 1)
    seen.page.get_by_role("button", name="Run", exact=True).first.wait_for()


def drop(page: Page, path: Path) -> None:
    """Drop a file on the canvas."""
    script = """([name, text]) => {
        const carried = new DataTransfer()
        carried.items.add(new File([text], name, {type: "application/json"}))
        return carried
    }"""
    carried = page.evaluate_handle(script, [path.name, path.read_text(encoding="utf-8")])
    page.dispatch_event("#graph-canvas", "drop", {"dataTransfer": carried, "clientX": 700, "clientY": 450})


def use(seen: Seen) -> None:
    """What a user does: load a graph, run it, look at it, run a long one and cancel it, and come back."""
    page = seen.page
    open_page(seen)
    drop(page, GRAPH)
    count = len(json.loads(GRAPH.read_text(encoding="utf-8")))
    page.wait_for_function(f"() => window.app.graph.nodes.length === {count}")
    page.evaluate(SHOW_ALL)
    run = page.get_by_role("button", name="Run", exact=True).first
    run.click()
    seen.until("execution_success")
    page.wait_for_function("() => window.app.graph.nodes.some((n) => n.type === 'SaveImage' && n.imgs?.length)")
    page.wait_for_timeout(2000)  # for the picture of the page: until it is drawn
    if seen.release != OLD:
        page.screenshot(path=str(ROOT / "docs" / "frontend.png"))
    widget = "window.app.graph.nodes.find((n) => n.type === 'KSampler').widgets.find((w) => w.name === 'steps')"
    page.evaluate(f"() => {{ {widget}.value = 10000 }}")
    before = seen.events.count("preview")
    run.click()
    seen.until("preview", before + 2)
    page.keyboard.press("Control+Alt+Enter")
    seen.until("execution_interrupted")
    open_page(seen)


@pytest.fixture(scope="session", params=["newest", OLD])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """What was seen of one release of the front end, used from start to end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-ui")
    browser_path = chromium()
    release, flags = front_end(request.param)
    base = tmp_path_factory.mktemp("ui")
    with serve(base, flags) as url:
        missing = OLD_NEEDS - classes(url) if release == OLD else set()
        if missing:
            pytest.skip(f"front end {OLD} needs nodes that are still to be built: {', '.join(sorted(missing))}")
        body = json.dumps({"Comfy.TutorialCompleted": True}).encode()  # else a dialog opens over the page
        urllib.request.urlopen(urllib.request.Request(url + "/settings", data=body, method="POST")).close()
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=browser_path, args=SWITCHES)
            context = browser.new_context(viewport={"width": 1500, "height": 900})
            context.set_default_timeout(PATIENCE_S * 1000)
            found = Seen(url=url, page=context.new_page(), release=release)
            found.listen()
            use(found)
            yield found
            browser.close()
