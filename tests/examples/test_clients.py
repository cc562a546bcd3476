"""The programs under examples/ against a real server and the demo's checkpoint: pictures that show what was asked."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.judge import Seen, see

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"listening on (http://\S+)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server with the repository's models and folders of its own for the rest."""
    folder = tmp_path_factory.mktemp("server")
    # Without a cache: programs that ask for the same picture must see its steps whichever of them runs first.
    command = [sys.executable, "-m", "server", "--port", "0", "--cache-none", "--base-directory", str(ROOT)]
    for name in ("input", "output", "user", "temp"):
        command += [f"--{name}-directory", str(folder / name)]
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = LISTENING.search(line)
        try:
            assert found, line + (folder / "log").read_text(encoding="utf-8")
            yield found[1]
        finally:
            process.terminate()
            process.communicate(timeout=120)


def run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seen_in(path: Path) -> Seen:
    with Image.open(path) as picture:
        return see(np.asarray(picture.convert("RGB")))


def test_requests_client_downloads_the_picture_that_it_asked_for(server: str, tmp_path: Path):
    run("examples/guide2_client.py", "--url", server, "--folder", tmp_path)
    (path,) = tmp_path.glob("API_*.png")
    seen = seen_in(path)
    assert (seen.colour, seen.background, seen.place) == ("yellow", "purple", "center")


def test_websocket_client_keeps_previews_and_the_picture(server: str, tmp_path: Path):
    said = run("examples/websocket_client.py", "--url", server, "--folder", tmp_path)
    assert "step 20 of 20" in said
    assert len(list(tmp_path.glob("preview_*"))) >= 2
    (path,) = tmp_path.glob("weft_*.png")
    seen = seen_in(path)
    assert (seen.colour, seen.background, seen.place) == ("red", "blue", "center")


NODE = shutil.which("node")
NO_WEBSOCKET = "this Node.js has no WebSocket (20 with a flag, 22 without)"


def node_command() -> list[str]:
    """How Node.js is started so that it has a WebSocket."""
    if NODE is None:
        pytest.skip("there is no Node.js here")
    told = subprocess.run([NODE, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    major = int(told.strip().lstrip("v").partition(".")[0])
    if major < 20:
        pytest.skip(NO_WEBSOCKET)
    return [NODE] if major >= 22 else [NODE, "--experimental-websocket"]


def test_node_client_keeps_previews_and_the_picture(server: str, tmp_path: Path):
    command = [*node_command(), "examples/node_client.mjs", "--url", server, "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 20 of 20" in done.stdout
    assert len(list(tmp_path.glob("preview_*"))) >= 2
    (path,) = tmp_path.glob("weft_*.png")
    seen = seen_in(path)
    assert (seen.colour, seen.background, seen.place) == ("red", "blue", "center")


every_client = pytest.mark.parametrize("program", ["guide2_client.py", "websocket_client.py", "node_client.mjs"])


def failed(program: str, url: str, **environment: str) -> str:
    """The one line that a client ends with."""
    command = node_command() if program.endswith(".mjs") else [sys.executable]
    command += [f"examples/{program}", "--url", url]
    env = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    warnings = [line for line in done.stderr.splitlines() if "Warning" in line or "trace-warnings" in line]
    (line,) = [line for line in done.stderr.splitlines() if line not in warnings]
    assert (done.returncode, done.stdout) == (1, "")
    return line


@every_client
def test_a_client_says_in_a_sentence_that_no_server_answers(program: str):
    with socket.socket() as held:  # bound and not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert failed(program, url).startswith(f"No server answers at {url}: start one with `make run`")


@pytest.fixture
def guarded() -> Iterator[tuple[str, set[str | None]]]:
    """Address of a server that lets nobody in, and the keys that it was shown."""
    keys: set[str | None] = set()

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.add(self.headers["Authorization"])
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403 if self.headers["Authorization"] else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", keys
        server.shutdown()
        thread.join()


@every_client
@pytest.mark.parametrize(("token", "shown"), [("", None), ("a-key-of-little-scope", "Bearer a-key-of-little-scope")])
def test_a_client_shows_the_key_of_its_environment_and_says_that_one_is_asked_for(
    guarded: tuple[str, set[str | None]], program: str, token: str, shown: str | None
):
    url, keys = guarded
    told = f"The server at {url} asks for a key that may do this: give it as WEFT_TOKEN in the environment."
    assert failed(program, url, WEFT_TOKEN=token) == told
    assert keys == {shown}


def test_demo_prints_where_a_recognisable_picture_lies(tmp_path: Path):
    said = run("-m", "examples.demo", "--output", tmp_path, "--text", "a green square on a white background, left")
    found = re.search(r"^The picture: (\S+\.png)", said, re.MULTILINE)
    assert found, said
    assert Path(found[1]).parent == tmp_path
    seen = seen_in(Path(found[1]))
    assert (seen.colour, seen.background, seen.place) == ("green", "white", "left")


def test_demo_says_what_was_wrong_when_the_server_refuses(tmp_path: Path):
    command = [sys.executable, "-m", "examples.demo", "--output", str(tmp_path), "--seed", "-1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert "seed" in done.stderr
