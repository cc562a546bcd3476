"""Devices as /system_stats lists them."""

import psutil
import pytest
import torch

from executor.worker.stats import device_works, devices, is_device_lost, set_threads, usable_cores


def test_the_cpu_stands_in_with_the_machine_s_memory():
    (device,) = devices(cpu_only=True)
    assert (device.name, device.type, device.index) == ("cpu", "cpu", None)
    assert device.vram_total == device.torch_vram_total == psutil.virtual_memory().total
    assert 0 < device.vram_free <= device.vram_total


def test_an_unused_device_counts_as_working():
    assert device_works()


@pytest.mark.parametrize(
    ("failure", "lost"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("HIP error: unspecified launch failure"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA error: no error of a device at all"), False),
    ],
)
def test_which_errors_say_that_the_device_is_lost(failure: BaseException, lost: bool):
    assert is_device_lost(failure) == lost


@pytest.fixture
def many_cores(monkeypatch):
    """A machine of 32 cores, all of them allowed."""
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64 if logical else 32)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("told", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 32), ("6400000 100000", 32)],
)
def test_a_containers_quota_limits_the_cores(many_cores, tmp_path, told, cores):
    (tmp_path / "cpu.max").write_text(f"{told}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_every_core_is_used_once(many_cores, tmp_path):
    assert usable_cores(tmp_path / "cpu.max") == 32


def test_affinity_limits_the_cores(many_cores, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert usable_cores(tmp_path / "cpu.max") == 2


def test_a_number_of_threads_from_outside_stays(many_cores, monkeypatch):
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    set_threads()
    assert given == []


@pytest.mark.parametrize(("workers", "threads"), [(1, 32), (2, 16), (3, 10), (40, 1), (0, 32)])
def test_workers_share_the_cores(monkeypatch, workers, threads):
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("executor.worker.stats.usable_cores", lambda: 32)
    set_threads(workers)
    assert given == [threads]
