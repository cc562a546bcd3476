"""What a browser saw while a page of the front end was used: answers, websocket events, complaints. Knows no page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request, Response, WebSocket

OLD = "1.27.10"
"""The release of the front end that ComfyUI 0.3.64 asks for."""
PATIENCE_S = 120.0
"""How long anything may take that a person waits for: far above what it needs, on a machine with other work too."""
NORMAL_404 = re.compile(
    r"/user\.css|/api/userdata/user\.css|/api/userdata/comfy\.templates\.json|/api/userdata/workflows%2F\.index\.json"
    r"|/api/userdata\?dir=(workflows|subgraphs)(%2F|/)?&.*"
)
"""What a fresh ComfyUI does not have either (reference/frontend_requests.md)."""
OWN_COMPLAINTS = {OLD: {"Cannot read properties of undefined (reading 'id')"}}
"""What a release says at each start, while it makes its own settings."""


@dataclass
class Seen:
    """What one page saw of a server."""

    url: str
    page: Page
    release: str
    answers: list[tuple[str, int, str]] = field(default_factory=list)  # method, status, address without host
    types: dict[str, str] = field(default_factory=dict)  # content types by address
    allowed: list[re.Pattern[str]] = field(default_factory=list)  # refusals and complaints that a test wants
    unanswered: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)  # websocket: event types, "preview" for binary frames
    failures: list[str] = field(default_factory=list)  # of prompts
    sockets: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note everything from now on."""
        self.page.on("response", self._answer)
        self.page.on("requestfailed", self._failure)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("websocket", self._socket)

    def troubles(self) -> list[str]:
        """What went wrong that a fresh ComfyUI would have done right, or that the page complained of."""
        refused = [
            row for row in self.answers if row[1] >= 400 and not (row[1] == 404 and NORMAL_404.fullmatch(row[2]))
        ]
        own = OWN_COMPLAINTS.get(self.release, ())
        found = [f"{method} {path}: {status}" for method, status, path in refused] + self.unanswered
        found += [text for text in self.complaints if text not in own]
        return [text for text in found if not any(pattern.match(text) for pattern in self.allowed)]

    def until(self, event: str, count: int = 1) -> None:
        """Wait for the websocket event to have come so often."""
        waited_s = 0.0
        while self.events.count(event) < count:
            assert not self.failures, f"no {event}: a prompt failed: {self.failures}"
            assert waited_s < PATIENCE_S, f"no {event} in {PATIENCE_S:g} s; complaints: {self.complaints}"
            self.page.wait_for_timeout(100)
            waited_s += 0.1

    def _answer(self, response: Response) -> None:
        if response.url.startswith(self.url):
            path = response.url.removeprefix(self.url)
            self.answers.append((response.request.method, response.status, path))
            if response.status != 304:  # "not modified" names no type
                self.types[path] = response.headers.get("content-type", "")

    def _failure(self, request: Request) -> None:
        path = request.url.removeprefix(self.url)
        left = (
            request.failure == "net::ERR_ABORTED"
        )  # by the page itself, which was opened anew: no fault of the server's
        known = any(path == answered for _, _, answered in self.answers)
        if request.url.startswith(self.url) and not left and not known:
            self.unanswered.append(f"{request.method} {path}: {request.failure}")

    def _console(self, message: ConsoleMessage) -> None:
        # "Failed to load resource" is said of each answer of 400 or more: those are looked at as answers.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        socket.on("framereceived", self._frame)

    def _frame(self, frame: str | bytes) -> None:
        message = json.loads(frame) if isinstance(frame, str) else {"type": "preview"}
        self.events.append(message["type"])
        if message["type"] == "execution_error":
            self.failures.append(f"{message['data']['node_type']}: {message['data']['exception_message']}")
