"""Paths in texts for clients."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from executor.files import Folders
from executor.own_folders import OwnFolders
from executor.settings import Settings
from executor.short_paths import ShortPaths

BASE = Path("/srv/weft")
SETTINGS = Settings(base_directory=BASE, auth_keys=Path("/etc/keys.toml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("'/srv/weft/output/sub/a.png' is full", "'output/sub/a.png' is full"),
        ("/srv/weft/models/checkpoints/a b.ckpt", "models/checkpoints/a b.ckpt"),
        ('File "/srv/weft/custom_nodes/p/__init__.py", line 1', 'File "custom_nodes/p/__init__.py", line 1'),
        ("/srv/weft: no such folder, /srv/weft/", ".: no such folder, "),
        (f"{sys.prefix}/lib/x.py", "python/lib/x.py"),
        (f'"{Path(__file__).resolve()}"', '"tests/unit/executor/test_short_paths.py"'),
        ("/srv/weft2/a /srv/weft-a/b /old/srv/weft/c", "/srv/weft2/a /srv/weft-a/b /old/srv/weft/c"),
        ("/view?filename=a.png, /etc/hosts and/or", "/view?filename=a.png, /etc/hosts and/or"),
    ],
)
def test_known_folders_are_short(text: str, told: str):
    assert ShortPaths(SETTINGS, Folders(SETTINGS)).text(text) == told


def test_an_owners_folders_have_the_owners_names():
    own = ShortPaths(SETTINGS, OwnFolders(Folders(SETTINGS), "anna-1"))
    assert own.text("/srv/weft/output/keys/anna-1/a.png, /srv/weft/output/keys/bert-2/b.png") == (
        "output/a.png, output/keys/bert-2/b.png"
    )


def test_every_text_of_a_value_is_short():
    own = ShortPaths(SETTINGS, Folders(SETTINGS))
    assert own.value([{"a": ("/srv/weft/input/x", 1)}, None]) == [{"a": ["input/x", 1]}, None]


def test_without_keys_nothing_is_hidden():
    settings = replace(SETTINGS, auth_keys=None)
    text = "/srv/weft/output/a.png"
    assert ShortPaths(settings, Folders(settings)).text(text) == text


def test_a_command_line_names_no_folder_elsewhere():
    own = ShortPaths(SETTINGS, Folders(SETTINGS))
    told = [
        "--base-directory",
        "/srv/weft",
        "--auth-keys=/etc/keys.toml",
        "--output-directory=/srv/weft/output",
        "--cpu",
    ]
    assert own.words(told) == ["--base-directory", ".", "--auth-keys=keys.toml", "--output-directory=output", "--cpu"]
    without = replace(SETTINGS, auth_keys=None)
    assert ShortPaths(without, Folders(without)).words(told) == told
