"""What packs reach of their worker: sending, asking the front, its event loop, the prompt that runs. Knows no pack."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from executor.context import InterruptFlag, PreviewChoice, ProgressSink, RunContext
from executor.graph.progress import Follower, Progress
from executor.leftovers import Attempt
from executor.messages import Clients, Free, FromWorker, Run, Wish
from executor.worker.checks import Checks
from executor.worker.control import Control
from executor.worker.loop_thread import LoopThread

if TYPE_CHECKING:
    from executor.worker.services import Services

log = logging.getLogger("weft.packs")

PATIENCE_S = 30.0  # how long a pack waits for what it asked the front


class Watcher(Protocol):
    """Who wants to know what runs."""

    def prompt_started(self, run: Run) -> None:
        """A prompt begins."""
        ...

    def node_started(self, node_id: str) -> None:
        """A node of it begins."""
        ...

    def clients_changed(self, news: Clients) -> None:
        """Websocket clients came or went (told on the control thread)."""
        ...


class Line:
    """One worker's line to the front, safe to use from any thread.

    `run`, `flag`, `sink` and `previews` are those of the prompt that runs now (None between prompts), for threads that
    no context reaches.
    `run_folder` is where the worker may put sockets and marks; `token` proves a caller on systems without such sockets.
    """

    def __init__(
        self,
        control: Control,
        *,
        worker: str = "",
        token: str = "",
        run_folder: Path | None = None,
        own: bool = True,
    ) -> None:
        self.worker = worker
        self.token = token
        self.run_folder = run_folder
        self.owns_process = own
        self.run: Run | None = None
        self.flag: InterruptFlag | None = None
        self.sink: ProgressSink | None = None
        self.attempt: Attempt | None = None  # notes the files that the prompt's nodes write
        self.previews: PreviewChoice | None = None
        self.services: Services | None = None  # those of the running prompt's owner
        self.node_id = ""  # the node that began last
        self.watcher: Watcher | None = None
        self.followers: list[Callable[[Progress], Follower]] = []  # made anew for every prompt
        self.on_close: list[Callable[[], None]] = []  # called in the reverse order when the worker ends in order
        self._control = control
        self._packs = LoopThread("weft-packs", lambda error: control.exit(error))
        self.checks = Checks(lambda error: control.exit(error))

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that serves the packs' routes."""
        return self._packs.loop

    def send(self, message: FromWorker) -> None:
        """Send a message to the front."""
        self._control.send(message)

    def flush(self) -> None:
        """Wait until what was sent has left this process."""
        self._control.flush()

    def wish(self, wish: Wish, body: object) -> None:
        """Ask the front for something whose answer nobody waits for."""
        self._control.request(wish, json.dumps(body).encode(), self.owner).add_done_callback(_tell_failure)

    def request(self, wish: Wish, body: object) -> object:
        """What the front answers to a wish; BadInput, NotReady or TimeoutError when it fails.

        On an event loop the front meets it at once: what the packs' loop asked before may wait for a hook that runs
        where the caller keeps it from running.
        """
        text = json.dumps(body).encode()
        answer = self._control.request(wish, text, self.owner, at_once=self.on_loop())
        return json.loads(answer.result(PATIENCE_S))

    @property
    def owner(self) -> str:
        """Whose prompt runs now; "" between prompts, and on event loops, where routes and hooks belong to no prompt."""
        return "" if self.run is None or self.on_loop() else self.run.owner

    def on_loop(self) -> bool:
        """Tell whether the caller runs on an event loop's own thread: the packs', or one that answers the front."""
        return self._packs.is_current() or self.checks.is_current() or self._control.is_answering()

    def free(self, *, models: bool, cache: bool) -> None:
        """Unload models and drop results once no prompt runs."""
        self._control.jobs.put(Free(models=models, cache=cache))

    def interrupt(self) -> None:
        """Let the running prompt end at its next checkpoint."""
        if self.flag is not None:
            self.flag.set()

    def last_call(self) -> RunContext:
        """The node that began last in the running prompt, as a call; a silent one between prompts."""
        run, flag, sink = self.run, self.flag, self.sink
        if run is None or flag is None or sink is None:
            return RunContext()
        return RunContext(
            job_id=run.job_id,
            client_id=run.client_id,
            node_id=self.node_id,
            interrupt=flag,
            sink=sink,
            services=self.services,
            previews=self.previews or PreviewChoice(),
        )

    def close(self) -> None:
        """The worker ends."""
        while self.on_close:
            self.on_close.pop()()
        self._packs.close()
        self.checks.close()

    # ---------------------------------------------------------------- told by the main thread

    def began(
        self,
        run: Run,
        flag: InterruptFlag,
        attempt: Attempt | None = None,
        previews: PreviewChoice | None = None,
        services: Services | None = None,
    ) -> None:
        """A prompt begins."""
        self.services = services
        self.run, self.flag, self.attempt, self.previews = run, flag, attempt, previews
        if self.watcher is not None:
            self.watcher.prompt_started(run)

    def ended(self) -> None:
        """The prompt is over."""
        self.run = self.flag = self.sink = self.attempt = self.previews = self.services = None
        self.node_id = ""

    def node_started(self, node_id: str) -> None:
        """A node begins."""
        self.node_id = node_id
        if self.watcher is not None:
            self.watcher.node_started(node_id)

    def clients_changed(self, news: Clients) -> None:
        """Websocket clients came or went (told on the control thread)."""
        if self.watcher is not None:
            self.watcher.clients_changed(news)


def _tell_failure(answer: Future[bytes]) -> None:
    failure = answer.exception()
    if failure is not None:
        log.warning("what a pack asked of the server was refused: %s", failure)
