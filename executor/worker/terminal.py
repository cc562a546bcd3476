"""The progress of a prompt for people: a bar with seconds per step on a terminal, now and then a line in the log."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from typing import NoReturn, TextIO

from tqdm import tqdm

log = logging.getLogger("weft.progress")

LINE_EVERY_S = 5.0
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_inv_fmt}]"
"""tqdm's own form, but always with seconds per step."""


class Terminal:
    """Shows one node's steps at a time; `stream` None writes log lines instead of a bar."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._bar: tqdm[NoReturn] | None = None
        self._node = ""
        self._title = ""
        self._began_s = 0.0
        self._told_s = 0.0

    def step(self, node_id: str, title: str, value: float, total: float) -> None:
        """Show that `value` of `total` steps of a node are done."""
        if node_id != self._node or self._began_s == 0.0:
            self.close()
            self._node, self._title = node_id, title
            self._began_s = self._told_s = time.monotonic()
            if self._stream is not None:
                self._bar = tqdm(
                    total=total,
                    desc=title,
                    file=self._stream,
                    leave=False,
                    unit="step",
                    ascii=True,
                    bar_format=BAR,
                    ncols=shutil.get_terminal_size().columns - 1,  # tqdm shows nothing on a terminal of no known width
                )
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(value - self._bar.n)
        else:
            self._tell(value, total)

    def close(self) -> None:
        """The prompt, or the node's share of it, is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._node, self._began_s = "", 0.0

    def _tell(self, value: float, total: float) -> None:
        now_s = time.monotonic()
        if value > 0 and (now_s - self._told_s >= LINE_EVERY_S or value >= total > 1):
            self._told_s = now_s
            log.info("%s: step %g of %g, %.2f s per step", self._title, value, total, (now_s - self._began_s) / value)


def make_terminal() -> Terminal:
    """A bar if standard error is a terminal, else log lines."""
    return Terminal(sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None)
