"""A place with folders for nodes that read and write files. Knows no node."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from executor import context
from executor.files import Folders
from executor.settings import Settings


@dataclass
class Place:
    """Services of a worker without models."""

    settings: Settings
    folders: Folders
    memory: object = None


@pytest.fixture
def place(tmp_path):
    """Services with empty folders, entered as those of the running call."""
    settings = Settings(base_directory=tmp_path)
    here = Place(settings=settings, folders=Folders(settings))
    here.folders.create()
    with context.entered(context.RunContext(services=here)):
        yield here


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """One thread for tensors: on a busy machine, threads that wait for each other make small ones far slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
