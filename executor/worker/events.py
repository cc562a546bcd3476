"""Sends what a running prompt tells as messages, encodes its pictures, shows its steps on the terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping
from typing import Literal

from executor.context import Preview
from executor.messages import Blob, Emit, FromWorker, Run
from executor.worker.terminal import Terminal

log = logging.getLogger("weft.worker")

JPEG_QUALITY = 95
Audience = Literal["owner", "owner_or_all", "all"]


class WireEvents:
    """The events of one prompt on their way to the front; `titles` names nodes for people, by id."""

    def __init__(
        self,
        job: Run,
        send: Callable[[FromWorker], None],
        *,
        flush: Callable[[], None],
        preview_size: int,
        terminal: Terminal,
        titles: Mapping[str, str],
        previews: bool = True,
    ) -> None:
        self._job = job
        self._send = send
        self._flush = flush
        self._preview_size = preview_size
        self._terminal = terminal
        self._titles = titles
        self._previews = previews

    def emit(self, event: str, data: Mapping[str, object], audience: Audience) -> None:
        """Send a websocket event."""
        self._send(
            Emit(
                job_id=self._job.job_id,
                event=event,
                data_json=json.dumps(data).encode(),
                audience=audience,
                client_id=self._job.client_id,
            )
        )
        if event == "executing":
            self._flush()  # if the node kills the process, the front knows which one it was
        value, total, node = data.get("value"), data.get("max"), data.get("node")
        if event == "progress" and isinstance(value, int | float) and isinstance(total, int | float):
            self._terminal.step(str(node), self._titles.get(str(node), str(node)), value, total)

    def preview(self, node_id: str, preview: Preview, metadata: Mapping[str, object]) -> None:
        """Send a picture of a node's work so far: JPEG, its longest side at most the preview size.

        One that says it is `lossless` is a result, and goes whole, as PNG, also where previews are not wanted.
        """
        lossless = bool(getattr(preview, "lossless", False))
        if not (lossless or self._previews):
            return
        try:
            body = _png(preview) if lossless else _jpeg(preview, self._preview_size)
        except Exception:
            if lossless:
                raise
            # a picture that fails must not end the work that it shows
            log.warning("the preview of node %s could not be made", node_id, exc_info=True)
            return
        self._send(
            Blob(
                job_id=self._job.job_id,
                kind="preview",
                node_id=node_id,
                header_json=json.dumps(metadata).encode(),
                image_type="image/png" if lossless else "image/jpeg",
                body=body,
                client_id=self._job.client_id,
            )
        )

    def text(self, node_id: str, message: str) -> None:
        """Send a line of text that belongs to a node."""
        body = message.encode("utf-8", "replace")
        self._send(
            Blob(job_id=self._job.job_id, kind="text", node_id=node_id, body=body, client_id=self._job.client_id)
        )


def _png(preview: Preview) -> bytes:
    buffer = io.BytesIO()
    preview.image().save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _jpeg(preview: Preview, longest_px: int) -> bytes:
    image = preview.image()
    image.thumbnail((longest_px, longest_px))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
