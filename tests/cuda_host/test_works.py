"""Work of every family on PyTorch's own host code: recorded, streamed, by turns, previews beside, without growth."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from executor.inference.devices import Ways
from executor.inference.latent_formats import SD15
from executor.inference.memory import Memory
from executor.inference.preview import LatentPreview
from tests.cuda_host.conftest import Count, Runtime, settled_bytes
from tests.cuda_host.works import RECORDED, WORKS

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", RECORDED)
def test_a_sampling_is_recorded_and_played(runtime: Runtime, device: torch.device, tmp_path: Path, name: str):
    memory = Memory(device)
    work, before = WORKS[name](tmp_path, memory), runtime.count(Count.PLAYED)
    work()
    work()
    assert runtime.count(Count.PLAYED) - before >= 3


@pytest.mark.parametrize("mode", ["auto", "low", "none"])
@pytest.mark.parametrize("name", WORKS)
def test_nothing_is_left_behind(runtime: Runtime, device: torch.device, tmp_path: Path, name: str, mode: str):
    memory = Memory(device, mode)
    work, before = WORKS[name](tmp_path, memory), settled_bytes()
    work()
    memory.unload_all()
    first = settled_bytes()  # libraries' workspaces stay
    counts = [Count.DEVICE_BYTES, Count.PINNED_BYTES, Count.GRAPHS]
    held = [runtime.count(each) for each in counts]
    for _ in range(3):
        work()
        memory.unload_all()
        assert settled_bytes() == first
    assert [runtime.count(each) for each in counts] == held
    assert first - before < 64 << 20


def test_previews_beside_break_no_recording(runtime: Runtime, device: torch.device, tmp_path: Path):
    works = [WORKS[name](tmp_path, Memory(device)) for name in ("sd15", "flux")]
    latent, ended, failures = torch.randn(1, 4, 64, 64, device=device), threading.Event(), []

    def watch() -> None:
        while not ended.is_set():
            try:
                preview = LatentPreview(latent=latent, latent_format=SD15).begun()
                assert preview is not None
                preview.image()
            except Exception as failure:  # noqa: BLE001  (told by the thread that asserts)
                failures.append(failure)
                return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for _ in range(3):
            for work in works:
                work()
    finally:
        ended.set()
        watching.join()
    assert not failures


def test_models_by_turns_make_room_for_each_other(runtime: Runtime, device: torch.device, tmp_path: Path):
    memory = Memory(device)
    works = [WORKS[name](tmp_path, memory) for name in ("sd15", "flux", "sd3", "wan")]
    for work in works:
        work()
    memory.reserve_bytes = torch.cuda.mem_get_info()[0]  # from now on nothing is free beside what is given back
    evicted = memory.evictions
    for _ in range(2):
        for work in works:
            work()
    assert memory.evictions > evicted


def test_a_network_without_recordings_records_none(runtime: Runtime, device: torch.device, tmp_path: Path):
    work, before = WORKS["flux"](tmp_path, Memory(device, ways=Ways(records=False))), runtime.count(Count.GRAPHS)
    work()
    assert runtime.count(Count.GRAPHS) == before
