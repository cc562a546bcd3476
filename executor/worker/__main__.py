"""python -m executor.worker ADDRESS LOADER: connects first, imports what is heavy afterwards."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import signal
import socket
import sys

from executor.messages import Boot, decode_boot
from executor.oom_killer import volunteer

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Read the Boot from standard input, connect, serve; returns the exit code."""
    address, loader = sys.argv[1:3]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what nodes print is seen at once, in files and pipes too
    boot = decode_boot(sys.stdin.buffer.read())
    die_with_front(boot)
    volunteer()  # the server stays where memory runs out
    sock = connect(address)
    from executor.worker.main import serve

    return serve(sock, boot, loader)


def connect(address: str) -> socket.socket:
    """A stream to "unix:PATH" or "tcp:HOST:PORT"."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(place)
        return stream
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)))


def die_with_front(boot: Boot) -> None:
    """Let Linux kill this process when the front dies, even while a node holds the interpreter and cannot see it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != boot.front_pid:  # it died before the line above
            os._exit(1)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that packs left behind must not keep the process
