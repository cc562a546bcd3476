"""The server's command line."""

from __future__ import annotations

import pytest

from server.cli import read_settings


def test_flags_become_settings():
    settings, ignored = read_settings(["--port", "9", "--listen", "--auto-launch"])
    assert (settings.port, settings.host, ignored) == (9, "0.0.0.0,::", ["--auto-launch"])


@pytest.mark.parametrize("argv", [["--verbose", "LOUD"], ["--tls-keyfile", "k"], ["--lissten"], ["--port", "x"]])
def test_bad_command_line_ends_the_program(argv):
    with pytest.raises(SystemExit):
        read_settings(argv)
