"""Real servers with the demo's checkpoint, one for each release of the official front end, and Chromium in front."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serving import serving
from tests.ui.person import Person
from tests.ui.watching import OLD, PATIENCE_S, Seen

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # release notes and the like: no network in tests
]
TOKEN = "the-token-of-the-server"
GREETED = "Comfy.TutorialCompleted"
"""The setting without which a dialog opens over the page: it is the user's first visit."""
SCRIPT = """import { app } from "../../scripts/app.js"
app.registerExtension({ name: "weft.test", setup() { document.body.dataset.weftPack = "is here" } })
"""
PACK = """class Nothing:
    CATEGORY, RETURN_TYPES, FUNCTION = "test", ("INT",), "nothing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def nothing(self):
        return (0,)


NODE_CLASS_MAPPINGS = {"WeftTestNothing": Nothing}
WEB_DIRECTORY = "./js"
"""


@pytest.fixture(scope="session", params=["newest", OLD])
def release(request: pytest.FixtureRequest) -> str:
    """The number of a release of the front end: the installed one, and the old one."""
    return OLD if request.param == OLD else version("comfyui-frontend-package")


@pytest.fixture(scope="session")
def address(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that shows the release, with the demo's checkpoint and one pack."""
    base = tmp_path_factory.mktemp("ui")
    for name, text in {"js/weft_test.js": SCRIPT, "__init__.py": PACK}.items():
        file = base / "custom_nodes" / "weft-test-pack" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    target = base / "models" / "checkpoints" / CHECKPOINT.name
    target.parent.mkdir(parents=True)
    shutil.copy(CHECKPOINT, target)
    (base / "input").mkdir()
    shutil.copy(ROOT / "docs" / "demo.png", base / "input" / "example.png")  # what LoadImage shows at first
    flags = ["--front-end-root", os.environ["WEFT_OLD_FRONT_END"]] if release == OLD else []
    with serving(base, "--cpu", *flags) as url:
        with urllib.request.urlopen(url + "/object_info", timeout=PATIENCE_S) as answer:  # when a worker is there
            assert "KSampler" in json.load(answer)
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests: the one in CHROMIUM, or else of that name on the path."""
    from playwright.sync_api import sync_playwright

    wanted = os.environ.get("CHROMIUM", "chromium")
    path = shutil.which(wanted)
    assert path, f"{wanted}: there is no such browser; make test-ui installs Chromium"
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=SWITCHES, timeout=PATIENCE_S * 1000)
        yield found
        found.close()


@contextlib.contextmanager
def visiting(address: str, release: str, browser: Browser, *, first: bool = False, token: str = "") -> Iterator[Person]:
    """Somebody at the open page, with a profile of their own; nothing may have gone wrong at the end."""
    settings = json.dumps({GREETED: None if first else True}).encode()
    known = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address + "/settings", data=settings, method="POST", headers=known)
    urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    context = browser.new_context(viewport={"width": 1500, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    seen = Seen(url=address, page=context.new_page(), release=release)
    seen.listen()
    try:
        person = Person(seen)
        if token:
            seen.page.goto(f"{address}/?token={token}")
            seen.page.wait_for_url(f"{address}/")
        person.open(first=first)
        yield person
    finally:
        context.close()
    assert seen.troubles() == []


@pytest.fixture
def person(address: str, release: str, browser: Browser) -> Iterator[Person]:
    """Somebody at the open page."""
    with visiting(address, release, browser) as found:
        yield found


@pytest.fixture(params=["one key", "separate keys"])
def key_holder(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Person]:
    """Somebody who opened the page of a server that asks for a key, by the address with the token."""
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    shutil.copy(CHECKPOINT, tmp_path / "models" / "checkpoints")
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[key]]\nname = "guest"\ntoken = "{TOKEN}"\nscopes = ["submit", "read"]\n', encoding="utf-8")
    flags = ["--auth-token", TOKEN] if request.param == "one key" else ["--isolate-keys", "--auth-keys", str(keys)]
    with serving(tmp_path, "--cpu", *flags) as url:
        urllib.request.urlopen(f"{url}/object_info?token={TOKEN}", timeout=PATIENCE_S).close()
        with visiting(url, version("comfyui-frontend-package"), browser, token=TOKEN) as found:
            yield found


@pytest.fixture
def newcomer(address: str, release: str, browser: Browser) -> Iterator[Person]:
    """Somebody at their first visit."""
    with visiting(address, release, browser, first=True) as found:
        yield found


@pytest.fixture(scope="session")
def twice(address: str, release: str, browser: Browser) -> Iterator[Person]:
    """Somebody who opened the page and then opened it anew; for tests that change nothing there."""
    with visiting(address, release, browser) as found:
        found.open()
        yield found
