"""Two keys of a real server with --isolate-keys: over every route, neither sees or changes what is the other's.

Each route of the application stands in ROUTES with what holds for it: a new route fails the first test until somebody
has decided. SECRET in a request stands for names of Anna's; Bert's answers must be those for names that nobody has.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
import requests
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from executor.own_folders import folder_name
from executor.settings import Settings
from server.app import make_app
from server.main import build, make_engine
from server.webroot import WebRoot
from tests.packs.conftest import serving_packs

SECRET = "zzq-anna-zzq"
ABSENT = "zzq-none-zzq"
CHIEFS = "chiefs-secret"
PATIENCE_S = 300.0
KEYS = """
[[key]]
name = "anna"
token = "anna-0123456789abcdef"
scopes = ["submit", "read"]

[[key]]
name = "bert"
token = "bert-0123456789abcdef"
scopes = ["submit", "read"]

[[key]]
name = "chief"
token = "chief-0123456789abcdef"
"""

Kind = Literal["same", "own", "changes", "operators", "stream"]


@dataclass(frozen=True)
class Ask:
    """A request; SECRET in it is a name of Anna's. `fields` is a form with a picture in it."""

    path: str
    body: object = None
    fields: tuple[tuple[str, str], ...] = ()

    def named(self, name: str) -> Ask:
        """The same about another name."""
        body, fields = json.loads(json.dumps([self.body, self.fields]).replace(SECRET, name))
        return Ask(self.path.replace(SECRET, name), body, tuple(map(tuple, fields)))


@dataclass(frozen=True)
class Decision:
    """What holds for a route.

    `same`: it tells nothing of prompts and files. `own`: a key sees its own; with `shown` Anna's answer holds SECRET.
    `changes`: a key changes its own. `operators`: 403 for keys that see their own. `stream`: has a test of its own.
    """

    kind: Kind
    asks: tuple[Ask, ...] = ()
    shown: bool = True


def same(*paths: str) -> Decision:
    return Decision("same", tuple(map(Ask, paths)))


def own(*paths: str, shown: bool = True) -> Decision:
    return Decision("own", tuple(map(Ask, paths)), shown)


def changes(path: str, *bodies: object) -> Decision:
    return Decision("changes", tuple(Ask(path, body) for body in bodies))


def operators(path: str, body: object = None) -> Decision:
    return Decision("operators", (Ask(path, body),))


PROMPT = {"prompt": {"1": {"class_type": "LoadImage", "inputs": {"image": f"{SECRET}.png"}}}}
PROMPT["prompt"]["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
PROBE = {"prompt": {"1": {"class_type": "ProbeFiles", "inputs": {"file": f"{SECRET}.png"}}}}
ORIGINAL = json.dumps({"filename": f"{SECRET}.png", "type": "input"})
MASK = (("type", "input"), ("original_ref", ORIGINAL), ("name", "joined.png"))
NO_STORE = {
    f"{method} /{name}{rest}": same(f"/{name}{'/x' if rest else ''}")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    for name in ("assets", "tags")
    for rest in ("", "/{rest}")
}
ROUTES: dict[str, Decision] = {
    **NO_STORE,
    "GET /": same("/"),
    "GET /docs/api": same("/docs/api"),
    "GET /docs/{name}": same("/docs/x.md"),
    "GET /embeddings": same("/embeddings"),
    "GET /experiment/models": same("/experiment/models"),
    "GET /experiment/models/{folder}": same("/experiment/models/checkpoints"),
    "GET /experiment/models/preview/{folder}/{index}/{name}": same(
        f"/experiment/models/preview/checkpoints/1/{SECRET}.safetensors"
    ),
    "GET /extensions": same("/extensions"),
    "GET /extensions/{name}": same("/extensions/x.js"),
    "GET /features": same("/features"),
    "GET /global_subgraphs": same("/global_subgraphs"),
    "GET /global_subgraphs/{id}": same("/global_subgraphs/x"),
    "GET /health": same("/health"),
    "GET /history": own("/history", "/history?max_items=1", "/history?offset=0"),
    "GET /history/{prompt_id}": own(f"/history/{SECRET}-ended"),
    "GET /i18n": same("/i18n"),
    "GET /internal/files/{root}": own(*(f"/internal/files/{root}" for root in ("input", "output"))),
    "GET /internal/folder_paths": same("/internal/folder_paths"),
    "GET /internal/logs": operators("/internal/logs"),
    "GET /internal/logs/raw": operators("/internal/logs/raw"),
    "GET /jobs": own("/jobs", "/jobs?status=completed", "/jobs?sort_by=execution_duration"),
    "GET /jobs/{id}": own(*(f"/jobs/{SECRET}-{state}" for state in ("ended", "running", "pending"))),
    "GET /metrics": operators("/metrics"),
    "GET /models": same("/models"),
    "GET /models/{folder}": same("/models/checkpoints", "/models/vae"),
    "GET /object_info": own("/object_info"),
    "GET /object_info/{name}": own("/object_info/LoadImage", "/object_info/ProbeFiles"),
    "GET /openapi.json": same("/openapi.json"),
    "GET /prompt": own("/prompt", shown=False),
    "GET /queue": own("/queue"),
    "GET /ready": same("/ready"),
    "GET /settings": own("/settings"),
    "GET /settings/{id}": own(f"/settings/{SECRET}"),
    "GET /system_stats": same("/system_stats"),
    "GET /templates/{name}": same("/templates/x.json"),
    "GET /userdata": own("/userdata?dir=workflows", "/userdata?dir=workflows&recurse=true&full_info=true"),
    "GET /userdata/{file}": own(f"/userdata/workflows%2F{SECRET}.json"),
    "GET /users": own("/users", shown=False),
    "GET /v2/userdata": own("/v2/userdata", "/v2/userdata?path=workflows"),
    "GET /view": own(
        f"/view?filename={SECRET}.png&type=input",
        f"/view?filename={SECRET}_00001_.png",
        f"/view?filename={SECRET}_00001_.png%20[output]&type=temp",
    ),
    "GET /view_metadata/{folder}": same(f"/view_metadata/checkpoints?filename={SECRET}.safetensors"),
    "GET /weft/events": Decision("stream"),
    "GET /weft/jobs/{id}": own(*(f"/weft/jobs/{SECRET}-{state}" for state in ("ended", "running", "pending"))),
    "GET /weft/packs": same("/weft/packs"),
    "GET /workflow_templates": same("/workflow_templates"),
    "GET /workflow_templates/{pack}/{name}": same("/workflow_templates/x/y.json"),
    "GET /ws": Decision("stream"),
    "GET /{name}": same("/probe/history", "/nothing-of-the-kind"),
    "DELETE /userdata/{file}": changes(f"/userdata/workflows%2F{SECRET}.json", None),
    "PATCH /internal/logs/subscribe": operators("/internal/logs/subscribe", {"clientId": SECRET, "enabled": True}),
    "POST /free": operators("/free", {"free_memory": True}),
    "POST /history": changes("/history", {"delete": [f"{SECRET}-ended"]}, {"clear": True}),
    "POST /interrupt": changes("/interrupt", {"prompt_id": f"{SECRET}-running"}, {"force": True}, {}),
    "POST /jobs/cancel": changes("/jobs/cancel", {"job_ids": [f"{SECRET}-running", f"{SECRET}-pending"]}),
    "POST /jobs/{id}/cancel": Decision(
        "changes", tuple(Ask(f"/jobs/{SECRET}-{state}/cancel", {}) for state in ("running", "pending"))
    ),
    "POST /prompt": changes("/prompt", PROMPT, PROBE),
    "POST /queue": changes("/queue", {"delete": [f"{SECRET}-pending"]}, {"clear": True}),
    "POST /settings": changes("/settings", {SECRET: "berts"}),
    "POST /settings/{id}": changes(f"/settings/{SECRET}", "berts"),
    "POST /upload/image": Decision(
        "changes", (Ask("/upload/image", None, (("name", f"{SECRET}.png"), ("overwrite", "true"))),)
    ),
    "POST /upload/mask": Decision("changes", (Ask("/upload/mask", None, MASK),)),
    "POST /userdata/{file}": changes(f"/userdata/workflows%2F{SECRET}.json?overwrite=true", {"of": "bert"}),
    "POST /userdata/{file}/move/{dest}": changes(f"/userdata/workflows%2F{SECRET}.json/move/mine.json", None),
    "POST /users": changes("/users", {"username": "bert's"}),
    "POST /weft/clean": operators("/weft/clean", {"dry_run": True}),
    "POST /weft/profile": operators("/weft/profile", {}),  # no prompt: whom it lets in is told 400
    "POST /weft/run": changes("/weft/run", PROMPT),
}


def picture(text: str) -> bytes:
    """A PNG that holds a text."""
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("note", text)
    Image.new("RGB", (4, 4)).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


@dataclass
class Server:
    """A server and the requests that keys make of it."""

    url: str
    base: Path

    def ask(self, name: str, method: str, ask: Ask) -> requests.Response:
        """The answer to a key's request."""
        headers, fields = {"Authorization": f"Bearer {name}-0123456789abcdef"}, dict(ask.fields)
        if not fields:
            return requests.request(method, self.url + ask.path, json=ask.body, headers=headers, timeout=PATIENCE_S)
        files = {"image": (fields.pop("name"), picture(f"of {name}"), "image/png")}
        return requests.post(self.url + ask.path, data=fields, files=files, headers=headers, timeout=PATIENCE_S)

    def get(self, name: str, path: str) -> requests.Response:
        """The answer to GET."""
        return self.ask(name, "GET", Ask(path))

    def post(self, name: str, path: str, body: object) -> requests.Response:
        """The answer to POST, which has to be good."""
        answer = self.ask(name, "POST", Ask(path, body))
        assert answer.status_code == 200, answer.text
        return answer

    def run(self, name: str, prompt: object, prompt_id: str) -> dict[str, object]:
        """The history's entry of a prompt that is run to its end."""
        self.post(name, "/prompt", {"prompt": prompt, "prompt_id": prompt_id, "client_id": "shared"})
        until_s = time.monotonic() + PATIENCE_S
        while not (found := self.get(name, f"/history/{prompt_id}").json()):
            assert time.monotonic() < until_s
            time.sleep(0.02)
        return found[prompt_id]


def graph(file: str, prefix: str) -> dict[str, object]:
    """Loads, saves and shows a picture, and lets a pack look around."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": file}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
        "3": {"class_type": "ProbeFiles", "inputs": {"file": file}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


WRITTEN = {
    "VHS_LoadImagesPath": {"directory": "", "image_load_cap": 0, "skip_first_images": 0, "select_every_nth": 1},
    "VHS_LoadImagePath": {"image": "/copy.png", "custom_width": 0, "custom_height": 0},
}
"""Nodes that take a path, and what stands behind the folder in it."""


def reading(kind: str, base: Path) -> dict[str, object]:
    """A prompt that reads what Anna saved by its path."""
    name, *_ = WRITTEN[kind]
    path = f"{base}/output/keys/{folder_name('anna')}{WRITTEN[kind][name]}"
    show = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    return {"1": {"class_type": kind, "inputs": {**WRITTEN[kind], name: path}}, "2": show}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose keys separate, with a pack, and a file of the operators'."""
    base = tmp_path_factory.mktemp("isolated")
    (base / "custom_nodes").mkdir()
    shutil.copy(Path(__file__).with_name("probe_pack.py"), base / "custom_nodes" / "probe.py")
    (base / "input").mkdir()
    (base / "input" / f"{CHIEFS}.png").write_bytes(picture(CHIEFS))
    (base / "keys.toml").write_text(KEYS)
    with serving_packs(base, "--cpu", "--isolate-keys", "--auth-keys", str(base / "keys.toml")) as url:
        yield Server(url, base)


@dataclass
class Scene:
    """What stands on the server: prompts that ended, of the same words for both, of paths; Anna's run and wait."""

    server: Server
    ended: dict[str, dict[str, object]]
    same: dict[str, dict[str, object]]
    tried: dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def scene(server: Server) -> Iterator[Scene]:
    """Both keys used the server, one after the other and in the same way; then Anna has it busy."""
    drawn = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}}
    drawn["2"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "same"}}
    same = {name: server.run(name, drawn, f"same-{name}") for name in ("anna", "bert")}
    ended = {}
    for name, file in (("anna", SECRET), ("bert", "berts"), ("chief", CHIEFS)):
        if name != "chief":
            form = (("name", f"{file}.png"),)
            assert server.ask(name, "POST", Ask("/upload/image", None, form)).json()["name"] == f"{file}.png"
        server.post(name, "/settings", {file: f"value of {file}"})
        server.post(name, f"/userdata/workflows%2F{file}.json", {"of": file})
        ended[name] = server.run(name, graph(f"{file}.png", file), f"{file}-ended")
    saved = server.base / "output" / "keys" / folder_name("anna")
    shutil.copy(saved / f"{SECRET}_00001_.png", saved / "copy.png")
    tried = {kind: server.run("bert", reading(kind, server.base), kind) for kind in WRITTEN}
    for kind in ("checkpoints", "vae"):
        (saved / kind).mkdir()
        (saved / kind / f"{SECRET}.safetensors").write_bytes(b"")
    wait = {"1": {"class_type": "ProbeWait", "inputs": {"note": SECRET}}}
    server.post("anna", "/prompt", {"prompt": wait, "prompt_id": f"{SECRET}-running"})
    server.post("anna", "/prompt", {"prompt": graph(f"{SECRET}.png", SECRET), "prompt_id": f"{SECRET}-pending"})
    yield Scene(server, ended, same, tried)
    server.post("anna", "/queue", {"clear": True})
    server.post("anna", "/interrupt", {})


def routes() -> list[tuple[str, str, str]]:
    """Every route of the application: method, pattern without /api, and that prefix where it has it; uploads last."""
    settings = Settings()
    app = make_app(build(settings, make_engine(settings), web_root=WebRoot()))
    found = {(route.method, route.resource.canonical) for route in app.router.routes() if route.method != "HEAD"}
    ordered = sorted(found, key=lambda route: (route[1].endswith("/upload/image"), *route))
    return [(method, path.removeprefix("/api"), "/api" if path.startswith("/api/") else "") for method, path in ordered]


def test_every_route_has_a_decision():
    assert {f"{method} {path}" for method, path, _ in routes()} == set(ROUTES)


@dataclass
class Told:
    """What a key was answered to a request."""

    route: str
    ask: Ask
    answer: requests.Response

    @property
    def everything(self) -> bytes:
        """Headers and body."""
        return repr(dict(self.answer.headers)).encode() + self.answer.content


def walk(server: Server, name: str, *kinds: Kind, secrets: tuple[str, ...] = (SECRET,)) -> list[Told]:
    """Ask every route of these kinds, about each of these names."""
    return [
        Told(f"{method} {prefix}{path}", ask, server.ask(name, method, Ask(prefix + ask.path, ask.body, ask.fields)))
        for method, path, prefix in routes()
        for ask in (each.named(secret) for each in ROUTES[f"{method} {path}"].asks for secret in secrets)
        if ROUTES[f"{method} {path}"].kind in kinds
    ]


@pytest.fixture(scope="module")
def looks(scene: Scene) -> dict[str, list[Told]]:
    """What Anna, and Bert with Anna's names and with names that nobody has, are told by all routes that only look."""
    return {
        "anna": walk(scene.server, "anna", "own"),
        "bert": walk(scene.server, "bert", "same", "own"),
        "absent": walk(scene.server, "bert", "same", "own", secrets=(ABSENT,)),
    }


def test_a_key_is_shown_what_is_its_own(looks: dict[str, list[Told]]):
    shown = {f"{method} {prefix}{path}" for method, path, prefix in routes() if ROUTES[f"{method} {path}"].shown}
    missing = [told for told in looks["anna"] if told.route in shown and SECRET.encode() not in told.everything]
    assert [(told.route, told.ask.path, told.answer.status_code) for told in missing] == []


def unlike(answers: list[Told], others: list[Told]) -> list[object]:
    """Where answers about Anna's things differ from those about names that nobody has."""
    plain = lambda told: (told.answer.status_code, told.answer.text.replace(SECRET, ABSENT))  # noqa: E731
    others_too = ("/system_stats", "/users", "/upload/image")  # free memory, new ids, numbers of files of one's own
    return [
        (one.route, one.ask.path, plain(one), plain(other))
        for one, other in zip(answers, others, strict=True)
        if not one.route.endswith(others_too) and plain(one) != plain(other)
    ]


def test_no_route_shows_what_is_anothers(looks: dict[str, list[Told]]):
    foreign = [
        (told.route, told.ask.path)
        for told in (*looks["bert"], *looks["absent"])
        if CHIEFS.encode() in told.everything or (SECRET.encode() in told.everything and SECRET not in told.ask.path)
    ]
    assert foreign == []
    assert unlike(looks["bert"], looks["absent"]) == []


def test_no_route_names_folders_of_this_machine(server: Server, looks: dict[str, list[Told]]):
    base = str(server.base).encode()
    naming = {told.route for told in (*looks["anna"], *looks["bert"]) if base in told.answer.content}
    assert [route for route in naming if "/history" not in route and "/jobs" not in route] == [], "outputs of the probe"
    whole = server.get("chief", "/internal/folder_paths").json()
    assert whole["loras"] == [str(server.base / "models" / "loras"), str(server.base / "output" / "loras")]
    short = server.get("bert", "/internal/folder_paths").json()
    assert (short["loras"], list(short)) == (["models/loras"], list(whole))
    assert str(server.base / "keys.toml") in server.get("chief", "/system_stats").text
    assert server.get("bert", "/system_stats").json()["system"]["argv"][-1] == "keys.toml"


def test_what_tells_of_all_is_for_operators(scene: Scene):
    for name, expected in (("bert", {403}), ("chief", {200, 400})):
        assert {told.answer.status_code for told in walk(scene.server, name, "operators")} == expected


def test_a_packs_routes_are_for_operators(scene: Scene):
    assert scene.server.get("bert", "/probe/history").status_code == 404
    assert SECRET in scene.server.get("chief", "/probe/history").text


def test_nothing_that_another_key_asks_for_changes_ones_things(scene: Scene, looks: dict[str, list[Told]]):
    told = walk(scene.server, "bert", "changes", secrets=(ABSENT, SECRET))
    assert unlike(told[1::2], told[::2]) == []
    after = walk(scene.server, "anna", "own")
    steady = [f"GET {prefix}{path}" for path in ("/queue", "/history", "/settings", "/view") for prefix in ("", "/api")]
    before = [each for each in looks["anna"] if each.route in steady]
    assert [each.answer.content for each in after if each.route in steady] == [each.answer.content for each in before]
    assert len(scene.server.get("anna", "/queue").json()["queue_running"]) == 1
    assert len(scene.server.get("anna", "/queue").json()["queue_pending"]) == 1
    assert scene.server.get("bert", "/view?filename=joined.png&type=input").status_code == 404


@pytest.mark.parametrize("below", [f"../{folder_name('anna')}", f"keys/{folder_name('anna')}", "..", "../.."])
def test_no_path_leads_into_anothers_folder(scene: Scene, below: str):
    name = f"{SECRET}_00001_.png"
    for query in (f"filename={name}&subfolder={below}", f"filename={below}/{name}"):
        assert scene.server.get("bert", f"/view?{query}").status_code in (400, 403, 404)
    load = {"1": {"class_type": "LoadImage", "inputs": {"image": f"{below}/{name} [output]"}}}
    load["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    assert scene.server.ask("bert", "POST", Ask("/prompt", {"prompt": load})).status_code == 400


def test_events_of_anothers_prompt_cannot_be_asked_for(scene: Scene):
    for name, status in (("bert", 404), ("anna", 200)):
        headers = {"Authorization": f"Bearer {name}-0123456789abcdef"}
        url = f"{scene.server.url}/weft/events?prompt_id={SECRET}-ended"
        with requests.get(url, headers=headers, stream=True, timeout=PATIENCE_S) as answer:
            assert answer.status_code == status


@pytest.mark.parametrize("kind", ["VHS_LoadImagesPath", "VHS_LoadImagePath"])
def test_a_written_path_leads_into_no_other_folder(scene: Scene, kind: str):
    event, data = scene.tried[kind]["status"]["messages"][-1]
    assert event == "execution_error"
    assert "outside the input, output and temp folders" in data["exception_message"]


def test_names_are_as_if_there_were_nobody_else(scene: Scene):
    for name, file in (("anna", SECRET), ("bert", "berts")):
        saved = scene.ended[name]["outputs"]["2"]["images"]
        assert saved == [{"filename": f"{file}_00001_.png", "subfolder": "", "type": "output"}]


def test_a_result_in_the_cache_is_not_handed_to_another_key(scene: Scene):
    for name in ("anna", "bert"):
        assert [shown["filename"] for shown in scene.same[name]["outputs"]["2"]["images"]] == ["same_00001_.png"]
        event, data = scene.same[name]["status"]["messages"][1]
        assert (event, data["nodes"]) == ("execution_cached", [])
        assert scene.server.get(name, "/view?filename=same_00001_.png").status_code == 200


def test_what_is_listed_for_all_names_nobodys_files(scene: Scene):
    listed = (scene.server.base / "user" / "weft.definitions.msgpack").read_bytes()
    assert b"ProbeFiles" in listed
    assert CHIEFS.encode() not in listed


def test_a_packs_node_sees_the_folders_and_the_history_of_its_prompts_owner(scene: Scene):
    for name, file in (("anna", SECRET), ("bert", "berts")):
        seen = json.loads(scene.ended[name]["outputs"]["3"]["seen"][0])
        folder = str(scene.server.base / "output" / "keys" / folder_name(name))
        assert {seen["kept"], seen["attribute"], seen["thread"]} == {folder}
        assert Path(seen["path"]).parts[-2:] == (folder_name(name), f"{file}.png")
        assert seen["history"] == [f"same-{name}"]


def test_operators_share_the_servers_own_folders(scene: Scene):
    seen = json.loads(scene.ended["chief"]["outputs"]["3"]["seen"][0])
    assert seen["kept"] == str(scene.server.base / "output")
    assert SECRET in scene.server.get("chief", "/history").text
    path = f"/view?filename={SECRET}_00001_.png&subfolder=keys/{folder_name('anna')}"
    assert scene.server.get("chief", path).status_code == 200


async def test_events_and_frames_of_another_key_do_not_come(scene: Scene):
    headers = {"Authorization": "Bearer bert-0123456789abcdef"}
    frames: list[bytes] = []
    async with aiohttp.ClientSession(scene.server.url, headers=headers) as session:
        async with session.ws_connect("/ws?clientId=shared&last_event=0") as socket:
            while b"".join(frames).count(b"execution_success") < 2:
                message = await socket.receive(PATIENCE_S)
                frames.append(message.data.encode() if isinstance(message.data, str) else message.data)
        async with session.get("/weft/events", headers={"Last-Event-ID": "0"}) as stream:
            while frames.count(b"event: execution_success\n") < 2:
                frames.append(await stream.content.readline())
    told = b"".join(frames)
    assert b"berts-ended" in told
    assert b"probe.told" in told
    assert SECRET.encode() not in told
    assert CHIEFS.encode() not in told
