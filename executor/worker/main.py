"""Start of a worker: connects and answers the front first, then imports torch and the nodes and goes to work."""

from __future__ import annotations

import os
import socket

from executor.messages import Boot, Hello
from executor.worker.control import Control
from executor.worker.log_lines import send_logs


def serve(sock: socket.socket, boot: Boot, loader: str, *, in_process: bool = False) -> int:
    """Be a worker on a connected socket until it closes or Stop comes; returns the exit code.

    Raises what the loader raises. A process of its own ends at once when the channel closes; as threads of the front
    (`in_process`) it ends after the running node's next checkpoint.
    """
    control = Control(sock, on_end=_stay if in_process else os._exit)
    control.start()
    control.send(Hello(token=boot.token, pid=os.getpid()))
    if not in_process:
        send_logs(control.send, boot.settings.log_level)
    try:
        from executor.worker.runtime import load_worker, work

        return work(load_worker(control, boot.settings, loader, in_process=in_process))
    finally:
        control.flush()
        if in_process:
            control.close()


def _stay(code: int) -> None:
    """The end of the channel does not end the front's own process."""
