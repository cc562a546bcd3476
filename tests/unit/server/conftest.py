"""A whole front on a temporary folder, with an engine that a test plays by hand."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientResponse, FormData
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from executor.contract.choices import to_marker
from executor.contract.definition import FileChoices, InputDef, NodeDef, OutputDef
from executor.engine.base import EngineMessage, Hear, Question, WorkerInfo
from executor.messages import Blob, Clients, Device, Emit, Finished, Ready, Reply, Run
from executor.settings import Settings
from server.app import PROTOCOL, make_app
from server.main import build
from server.state import Front
from server.webroot import WebRoot

CPU = Device(name="cpu", type="cpu", index=None, vram_total=8, vram_free=4, torch_vram_total=8, torch_vram_free=4)
LORAS = FileChoices(source="loras", before=("None",))
NODES = (
    NodeDef(
        name="Source",
        display_name="Source",
        category="test",
        inputs=(InputDef(name="width", type="INT", kind="required", minimum=1, maximum=64),),
        outputs=(OutputDef(name="IMAGE", type="IMAGE"),),
    ),
    NodeDef(
        name="Sink",
        display_name="Sink",
        category="test",
        inputs=(InputDef(name="image", type="IMAGE", kind="required"),),
        outputs=(),
        is_output=True,
    ),
    NodeDef(
        name="Pick",
        display_name="Pick",
        category="test",
        inputs=(InputDef(name="lora", type="COMBO", kind="required", choices=LORAS),),
        outputs=(),
        is_output=True,
    ),
)
WIRE = {
    "Source": {"input": {"required": {"width": ["INT", {"min": 1}]}}},
    "Sink": {"input": {"required": {"image": ["IMAGE"]}}},
    "Pick": {"input": {"required": {"lora": [to_marker(LORAS)]}}},
}
AGREED = b'{"results": [true]}'
READY = Ready(definitions=NODES, wire_json=json.dumps(WIRE).encode(), devices=(CPU,), torch_version="9.9")
GRAPH = {
    "1": {"class_type": "Source", "inputs": {"width": 8}},
    "2": {"class_type": "Sink", "inputs": {"image": ["1", 0]}},
}


class PlayedEngine:
    """One worker that does what a test says; jobs given to it are in `runs`."""

    def __init__(self) -> None:
        self.state = "starting"
        self.runs: list[Run] = []
        self.interrupted: list[str] = []
        self.freed: list[tuple[bool, bool]] = []
        self.given = asyncio.Event()
        self.asked: list[tuple[str, object]] = []
        self.answers: dict[str, Callable[[object], Awaitable[bytes]]] = {}  # by question
        self.replies: asyncio.Queue[Reply] = asyncio.Queue()
        self.informed: list[tuple[str, Clients]] = []
        self._hear: Hear = lambda worker, message: None

    async def start(self, hear: Hear) -> None:
        """Nothing to start."""
        self._hear = hear

    async def stop(self) -> None:
        """Nothing to stop."""

    def workers(self) -> tuple[WorkerInfo, ...]:
        """The one worker."""
        return (WorkerInfo(id="w", state=self.state, pid=1, devices=(CPU,) if self.state != "starting" else ()),)

    def run(self, worker: str, message: Run) -> None:
        """Note a job; one that is not accepted yet waits for that."""
        self.state = "busy"
        if message.held:
            self.offered = message
        else:
            self.runs.append(message)
            self.given.set()

    def begin(self, worker: str, job_id: str) -> None:
        """Note the job that is accepted."""
        self.runs.append(self.offered)
        self.given.set()

    def follow(self, worker: str, job_id: str) -> None:
        """Nothing to tell."""

    def interrupt(self, worker: str, job_id: str, *, force: bool = False) -> None:
        """Note an interrupt."""
        self.interrupted.append(job_id)

    def free(self, *, models: bool, cache: bool) -> None:
        """Note a request to free memory."""
        self.freed.append((models, cache))

    async def ask(
        self, question: Question, body_json: bytes, *, timeout_s: float = 30.0, worker: str | None = None
    ) -> bytes:
        """Answer as the test says, else agree to everything."""
        self.asked.append((question, json.loads(body_json)))
        return await self.answers[question](json.loads(body_json)) if question in self.answers else AGREED

    def inform(self, worker: str, message: Clients) -> None:
        self.informed.append((worker, message))

    def reply(self, worker: str, message: Reply) -> None:
        """Note what a wish was answered."""
        self.replies.put_nowait(message)

    def tell(self, message: EngineMessage) -> None:
        """Let the worker say something."""
        if isinstance(message, Ready | Finished):
            self.state = "idle"
        self._hear("w", message)

    def emit(self, event: str, data: object, *, owner: str | None, audience: str = "owner") -> None:
        """Let the worker send a websocket event."""
        told = Emit(job_id="j", event=event, data_json=json.dumps(data).encode(), audience=audience, client_id=owner)
        self.tell(told)

    def preview(self, body: bytes, *, owner: str | None, step: object = None) -> None:
        """Let the worker send a preview, and with it the step that it belongs to."""
        told = Blob(
            job_id="j",
            kind="preview",
            node_id="1",
            header_json=json.dumps({"node_id": "1"}).encode(),
            step_json=b"" if step is None else json.dumps(step).encode(),
            body=body,
            client_id=owner,
        )
        self.tell(told)

    def raw(self, event: int, body: bytes, *, owner: str | None) -> None:
        """Let the worker send a pack's binary event."""
        self.tell(Blob(job_id="", kind="raw", node_id="", event=event, body=body, client_id=owner))

    async def job(self) -> Run:
        """The next job given to the worker."""
        await asyncio.wait_for(self.given.wait(), 5)
        self.given.clear()
        return self.runs[-1]

    async def succeed(self, outputs: object = None) -> str:
        """Take the next job and end it well; returns its id."""
        run = await self.job()
        messages = [["execution_start", {"prompt_id": run.job_id}], ["execution_success", {"prompt_id": run.job_id}]]
        self.tell(
            Finished(
                job_id=run.job_id,
                state="succeeded",
                outputs_json=json.dumps(outputs or {}).encode(),
                meta_json=b"{}",
                messages_json=json.dumps(messages).encode(),
            )
        )
        return run.job_id


class Stand:
    """A running front, its client, and its engine."""

    def __init__(self, front: Front, client: TestClient, engine: PlayedEngine) -> None:
        self.front = front
        self.client = client
        self.engine = engine
        self.get, self.post = client.get, client.post
        self._stopped = False

    @property
    def base(self) -> Path:
        """The base directory."""
        return self.front.settings.base_directory

    async def submit(self, **fields: object) -> dict[str, object]:
        """Post the test graph and return the answer."""
        async with self.post("/prompt", json={"prompt": GRAPH, **fields}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def stop(self) -> None:
        """Stop the front, once."""
        if self._stopped:
            return
        self._stopped = True
        await self.front.dispatcher.stop(0)
        await self.front.hub.close()
        await self.front.proxy.close()
        await self.client.close()
        await self.front.renewal.close()
        await self.front.definitions.close()
        await self.front.store.close()

    async def idle(self) -> None:
        """Wait until the queue is empty and the last end is told."""
        async with asyncio.timeout(60):
            while self.front.store.remaining() or self.front.dispatcher._running:
                await asyncio.sleep(0)


MakeStand = Callable[..., Awaitable[Stand]]


@pytest.fixture
async def make_stand(tmp_path: Path) -> AsyncIterator[MakeStand]:
    """Build fronts with chosen settings."""
    stands: list[Stand] = []

    async def make(*, ready: bool = True, web_root: WebRoot | None = None, **options: object) -> Stand:
        settings = Settings(base_directory=tmp_path, **{"startup_wait_s": 0.05, **options})
        engine = PlayedEngine()
        front = build(settings, engine, web_root=web_root or WebRoot())
        front.folders.create()
        await front.store.open()
        front.definitions.load()
        server = TestServer(make_app(front))
        await server.start_server(**PROTOCOL)
        client = TestClient(server)
        await front.dispatcher.start()
        stand = Stand(front, client, engine)
        stands.append(stand)
        if ready:
            engine.tell(READY)
            async with asyncio.timeout(60):
                await front.definitions.nodes()
                while engine.state == "starting":
                    await asyncio.sleep(0)
        return stand

    yield make
    for stand in stands:
        await stand.stop()


@pytest.fixture
async def stand(make_stand: MakeStand) -> Stand:
    """A front whose worker is ready and idle."""
    return await make_stand()


@pytest.fixture
def graph() -> dict[str, object]:
    """The graph that `Stand.submit` posts."""
    return GRAPH


@pytest.fixture
def ready_message() -> Ready:
    """What a worker with the test nodes tells first."""
    return READY


def png(size: tuple[int, int] = (4, 2), color: tuple[int, ...] = (200, 100, 50), **texts: str) -> bytes:
    """A one-colour PNG with text chunks."""
    picture = Image.new("RGBA" if len(color) == 4 else "RGB", size, color)
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", pnginfo=info)
    return buffer.getvalue()


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    """Make PNG files."""
    return png


@pytest.fixture
def upload(stand: Stand) -> Callable[..., Awaitable[ClientResponse]]:
    """Post a file to an upload route of `stand`."""

    async def post(body: bytes, name: str, route: str = "/upload/image", **fields: str) -> ClientResponse:
        form = FormData(quote_fields=False)
        form.add_field("image", body, filename=name, content_type="application/octet-stream")
        for key, value in fields.items():
            form.add_field(key, value)
        return await stand.post(route, data=form)

    return post
