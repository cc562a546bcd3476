"""The server as packs know it (`from server import PromptServer`): a facade over the worker's line to the front.

Surface: reference/custom_node_surface.md. Knows no queue, no websocket and no pack.
"""

from __future__ import annotations

import io
import json
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from aiohttp import web
from msgspec.structs import replace

from executor.messages import Blob, Clients, Emit, Run
from executor.settings import Settings
from executor.worker.line import Line
from nodes.client_sockets import ClientSockets
from nodes.prompt_queue import PromptQueue

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("weft.packs")

PREVIEW_PX = 512
Hook = Callable[[dict[str, object]], dict[str, object]]


class BinaryEventTypes(IntEnum):
    """Type numbers of binary websocket frames."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4


class UserManager:
    """Where the files of a user lie; there is one user here, the default one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_request_user_id(self, request: web.Request) -> str:
        """The id of the user who asks."""
        return "default"

    def get_request_user_filepath(
        self, request: web.Request, file: str | None, type: str = "userdata", create_dir: bool = True
    ) -> str | None:
        """The path of a user's file, or of the folder when no file is named; None if it would lie outside."""
        root = self._folder / "default"
        path = root / file if file else root
        if not path.resolve().is_relative_to(root.resolve()):
            return None
        if create_dir:
            (path.parent if file else path).mkdir(parents=True, exist_ok=True)
        return str(path)


class PromptServer:
    """What packs call the server. Any other attribute may be set on it, and stays."""

    instance: ClassVar[PromptServer]

    def __init__(
        self, line: Line, settings: Settings, user_folder: Path, missed: Callable[[str], object] = str
    ) -> None:
        self._line = line
        self._missed = missed
        self.app = web.Application(client_max_size=round(settings.max_upload_mb * 2**20))
        self.routes = web.RouteTableDef()
        self.prompt_queue = PromptQueue(line)
        self.user_manager = UserManager(user_folder)
        self.on_prompt_handlers: list[Hook] = []
        self.supports = ["custom_nodes_from_web"]
        self.address, self.port = settings.host, settings.port
        self.number = 0
        self._clients = ClientSockets(self.send_sync)
        self.sockets, self.sockets_metadata = self._clients.sockets, self._clients.metadata
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.last_prompt_id: str | None = None

    def __getattr__(self, name: str) -> object:
        if not name.startswith("_"):
            self._missed(f"server.PromptServer.instance.{name}")
        raise AttributeError(f"Weft's PromptServer has no {name!r}")

    @property
    def loop(self) -> AbstractEventLoop:
        """The event loop that serves the routes; coroutines are handed to it from any thread."""
        return self._line.loop

    # ---------------------------------------------------------------- events

    def send_sync(self, event: str | int, data: object, sid: str | None = None) -> None:
        """Send a websocket event from any thread: to the client `sid`, or to all."""
        if isinstance(event, str):
            self._emit(event, data, sid)
        elif event == BinaryEventTypes.UNENCODED_PREVIEW_IMAGE:
            self._picture(data, sid)
        elif event == BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA and isinstance(data, tuple):
            self._picture(data[0], sid, data[1])
        else:
            told = Blob(job_id=self._job(), kind="raw", node_id="", event=int(event), body=_octets(data), client_id=sid)
            self._line.send(replace(told, owner=self._line.owner))

    async def send(self, event: str | int, data: object, sid: str | None = None) -> None:
        """Send a websocket event: to the client `sid`, or to all."""
        self.send_sync(event, data, sid)

    async def send_json(self, event: str, data: object, sid: str | None = None) -> None:
        """Send an event of JSON data."""
        self.send_sync(event, data, sid)

    async def send_bytes(self, event: int, data: bytes, sid: str | None = None) -> None:
        """Send a binary frame of the type `event`."""
        self.send_sync(event, data, sid)

    async def send_image(self, image_data: object, sid: str | None = None) -> None:
        """Send a picture, (format, picture, longest side), as a preview."""
        self._picture(image_data, sid)

    def send_progress_text(self, text: str | bytes, node_id: str, sid: str | None = None) -> None:
        """Show a line of text at a node."""
        body = text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text)
        told = Blob(job_id=self._job(), kind="text", node_id=str(node_id), body=body, client_id=sid or self.client_id)
        self._line.send(replace(told, owner=self._line.owner))

    def add_routes(self) -> None:
        """Nothing to do: routes in the table are served once every pack is there."""

    def queue_updated(self) -> None:
        """Nothing to do: the front tells of its queue by itself."""

    def get_queue_info(self) -> dict[str, object]:
        """How many prompts wait or run, as GET /prompt tells it."""
        return {"exec_info": {"queue_remaining": self.prompt_queue.get_tasks_remaining()}}

    # ---------------------------------------------------------------- prompts

    def add_on_prompt_handler(self, handler: Hook) -> None:
        """Let `handler` see each body of POST /prompt and return the body to use."""
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data: dict[str, object]) -> dict[str, object]:
        """The body after every handler; one that fails is logged and changes nothing."""
        for handler in list(self.on_prompt_handlers):
            try:
                changed = handler(json_data)
            except Exception:  # border: the code of a pack may raise anything
                log.exception("the prompt hook %s failed and is skipped", _place(handler))
                continue
            if isinstance(changed, dict):
                json_data = changed
            else:
                log.warning("the prompt hook %s returned no body and is skipped", _place(handler))
        return json_data

    def prompt_started(self, run: Run) -> None:
        """A prompt begins (told by the worker)."""
        self.client_id, self.last_prompt_id, self.last_node_id = run.client_id, run.job_id, None

    def node_started(self, node_id: str) -> None:
        """A node begins (told by the worker)."""
        self.last_node_id = node_id

    def clients_changed(self, news: Clients) -> None:
        """Websocket clients came or went (told by the front)."""
        self._clients.take(news)

    # ---------------------------------------------------------------- inside

    def _job(self) -> str:
        run = self._line.run
        return run.job_id if run is not None else ""

    def _emit(self, event: str, data: object, sid: str | None) -> None:
        try:
            data_json = json.dumps(data).encode()
        except (TypeError, ValueError):
            log.exception("the event %r of a pack cannot be sent: its data is no JSON", event)
            return
        self._line.send(
            Emit(
                job_id=self._job(),
                event=event,
                data_json=data_json,
                audience="all" if sid is None else "owner",
                client_id=sid,
                owner=self._line.owner,
            )
        )

    def _picture(self, told: object, sid: str | None, metadata: Mapping[str, object] | None = None) -> None:
        """Send (format, picture, longest side or None) as a preview of the node that runs."""
        if not isinstance(told, tuple | list) or len(told) < 2:
            raise TypeError("a preview is (format, picture, longest side in pixels or None)")
        kind, picture, longest_px = (*told, PREVIEW_PX)[:3]
        node_id = self.last_node_id or ""
        usual = {"node_id": node_id, "display_node_id": node_id, "prompt_id": self._job()}
        self._line.send(
            Blob(
                job_id=self._job(),
                kind="preview",
                node_id=node_id,
                header_json=json.dumps(dict(metadata) if metadata else usual).encode(),
                image_type="image/png" if str(kind).upper() == "PNG" else "image/jpeg",
                body=_encoded(picture, str(kind).upper(), longest_px),
                client_id=sid,
                owner=self._line.owner,
            )
        )


def _encoded(picture: Image, kind: str, longest_px: int | None) -> bytes:
    if longest_px is not None and max(picture.size) > longest_px:
        picture = picture.copy()
        picture.thumbnail((longest_px, longest_px))
    buffer = io.BytesIO()
    if kind == "PNG":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _octets(data: object) -> bytes:
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"a binary event needs bytes, not {type(data).__name__}")


def _place(handler: object) -> str:
    return f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', repr(handler))}"
