"""Sends what a running prompt tells as messages, encodes its pictures, shows its steps on the terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from executor.context import Preview, PreviewChoice, ProgressSink
from executor.messages import Blob, Emit, FromWorker, Run
from executor.worker.preview_desk import PreviewDesk
from executor.worker.terminal import Terminal

log = logging.getLogger("weft.worker")

JPEG_QUALITY = 95
STEPS = frozenset({"progress", "progress_state"})
"""Events of a node under way."""
AT_BORDERS = frozenset({"execution_start", "execution_cached", "executing", "executed", "progress_state"})
"""Events that tell where nodes begin and end: of quick nodes many come in a millisecond."""
Audience = Literal["owner", "owner_or_all", "all"]


class Hold(Protocol):
    """Sends a message with others that come soon (`Control.hold`)."""

    def __call__(self, message: FromWorker, *, alone: bool) -> None:
        """Take one message."""
        ...


class WireEvents:
    """The events of one prompt on their way to the front; `titles` tells the names of nodes for people, by id."""

    def __init__(
        self,
        job: Run,
        send: Callable[[FromWorker], None],
        *,
        hold: Hold,
        flush: Callable[[], None],
        preview_size: int,
        terminal: Terminal,
        titles: Callable[[], Mapping[str, str]],
        previews: PreviewChoice | None = None,
    ) -> None:
        self._job = job
        self._send = send
        self._hold = hold
        self._flush = flush
        self._preview_size = preview_size
        self._terminal = terminal
        self._titles = titles
        self._told_titles: Mapping[str, str] | None = None  # asked for at the first step
        self._previews = previews or PreviewChoice()
        self._desk = PreviewDesk()

    def emit(self, event: str, data: Mapping[str, object], audience: Audience) -> None:
        """Send a websocket event; where a node begins or ends, no picture of what was before comes after it."""
        if event not in STEPS:
            self._desk.settle()
        self.emit_json(event, json.dumps(data), audience)
        if event == "executing" and not self.is_quick(str(data.get("node"))):
            self._flush()  # clients see what takes its time, and the front which node it was that killed the process
        if event == "progress":
            self._show(data)

    def emit_json(self, event: str, text: str, audience: Audience) -> None:
        """Send a websocket event whose data is JSON text already; those at the borders of nodes go several together."""
        message = Emit(
            job_id=self._job.job_id,
            event=event,
            data_json=text.encode(),
            audience=audience,
            client_id=self._job.client_id,
            owner=self._job.owner,
        )
        if event in AT_BORDERS:
            self._hold(message, alone=self._job.alone)
        else:
            self._send(message)

    def is_quick(self, node_id: str) -> bool:
        """Tell whether a node is over so soon that nobody need hear of it before."""
        return False

    def follow(self, sink: ProgressSink) -> None:
        """A prompt begins; what is sent does not depend on its progress."""

    def preview(
        self, node_id: str, preview: Preview, metadata: Mapping[str, object], step: Mapping[str, object] | None = None
    ) -> None:
        """Send a picture of a node's work so far, with the step it belongs to: JPEG of at most the preview size.

        One that says it is `lossless` is a result, and goes whole, as PNG, also where previews are not wanted. One that
        is `asked_for` by a node itself goes there too, and in its natural size if it is `whole`.
        Where there is no picture the step goes alone; where the picture is still on its way from a device the step
        goes at once and the picture when it is there, unless a newer one is sooner.
        """
        lossless = bool(getattr(preview, "lossless", False))
        later = None if lossless or not self._is_wanted(preview) else _on_its_way(preview)
        if later is not None:
            if step is not None:
                self.emit("progress", step, "owner_or_all")
            self._desk.offer(lambda: self._show_picture(node_id, later, metadata, None, lossless=False))
            return
        self._show_picture(node_id, preview, metadata, step, lossless=lossless)

    def _show_picture(
        self,
        node_id: str,
        preview: Preview,
        metadata: Mapping[str, object],
        step: Mapping[str, object] | None,
        *,
        lossless: bool,
    ) -> None:
        body = self._encoded(node_id, preview, lossless=lossless)
        if body is None:
            if step is not None:
                self.emit("progress", step, "owner_or_all")
            return
        self._send(
            Blob(
                job_id=self._job.job_id,
                kind="preview",
                node_id=node_id,
                header_json=json.dumps(metadata).encode(),
                step_json=b"" if step is None else json.dumps(step).encode(),
                image_type="image/png" if lossless else "image/jpeg",
                body=body,
                client_id=self._job.client_id,
                owner=self._job.owner,
            )
        )
        if step is not None:
            self._show(step)

    def _encoded(self, node_id: str, preview: Preview, *, lossless: bool) -> bytes | None:
        if lossless:
            return _png(preview)
        if not self._is_wanted(preview):
            return None
        try:
            return _jpeg(preview, None if getattr(preview, "whole", False) else self._preview_size)
        except Exception:  # a picture that fails must not end the work that it shows
            log.warning("the preview of node %s could not be made", node_id, exc_info=True)
            return None

    def _is_wanted(self, preview: Preview) -> bool:
        return self._previews.method != "none" or bool(getattr(preview, "asked_for", False))

    def _show(self, step: Mapping[str, object]) -> None:
        """Show a step to people on the terminal."""
        value, total, node = step.get("value"), step.get("max"), step.get("node")
        if isinstance(value, int | float) and isinstance(total, int | float):
            if self._told_titles is None:
                self._told_titles = self._titles()
            self._terminal.step(str(node), self._told_titles.get(str(node), str(node)), value, total)

    def text(self, node_id: str, message: str) -> None:
        """Send a line of text that belongs to a node."""
        body, job = message.encode("utf-8", "replace"), self._job
        self._send(
            Blob(job_id=job.job_id, kind="text", node_id=node_id, body=body, client_id=job.client_id, owner=job.owner)
        )


def _on_its_way(preview: Preview) -> Preview | None:
    """The same picture for another thread to wait for, where it comes from a device that is still at work."""
    begun = getattr(preview, "begun", None)
    found: Preview | None = begun() if callable(begun) else None
    return found


def _png(preview: Preview) -> bytes:
    buffer = io.BytesIO()
    preview.image().save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _jpeg(preview: Preview, longest_px: int | None) -> bytes:
    image = preview.image()
    if longest_px is not None:
        image.thumbnail((longest_px, longest_px))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
