"""What a worker tells of its devices: names and bytes, as /system_stats lists them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil
import torch

from executor.messages import Device

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def devices(*, cpu_only: bool = False) -> tuple[Device, ...]:
    """The CUDA devices this process sees, or the CPU with the machine's memory in their place."""
    if cpu_only or not torch.cuda.is_available():
        return (_cpu(),)
    return tuple(_cuda(index) for index in range(torch.cuda.device_count()))


def cuda_in_use() -> bool:
    """Tell whether this process has used a CUDA device."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch leaves it without types


def device_works() -> bool:
    """Tell by one small operation whether the device still computes: some CUDA errors stay until the process ends."""
    if not cuda_in_use():
        return True
    try:
        (torch.zeros(1, device="cuda") + 1).item()
    except RuntimeError:
        return False
    return True


def is_device_lost(failure: BaseException) -> bool:
    """Tell whether an error says that the device's context is gone, as a device-side assert does.

    Such errors stay until the process ends. Memory that ran out is none of them.
    """
    if isinstance(failure, torch.OutOfMemoryError):
        return False
    text = str(failure)
    told = isinstance(failure, torch.AcceleratorError) or text.startswith(("CUDA error", "HIP error"))
    return isinstance(failure, RuntimeError) and told and "out of memory" not in text


def set_threads(workers: int = 1) -> None:
    """Let torch use this worker's share of the cores, as so many threads; OMP_NUM_THREADS says how many by itself.

    Workers that each took all cores would wait for one another at the end of every parallel loop.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // max(1, workers)))


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: hyperthreads not counted, within its affinity and its container's quota.

    `quota` is a cgroup's cpu.max: microseconds of computing in a period, and the period.
    """
    limits = [psutil.cpu_count(logical=False) or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    if quota.is_file():
        most, _, period = quota.read_text(encoding="ascii").strip().partition(" ")
        if most.isdigit() and period.isdigit():
            limits.append(math.ceil(int(most) / int(period)))
    return max(1, min(limits))


def _cpu() -> Device:
    memory = psutil.virtual_memory()
    return Device(
        name="cpu",
        type="cpu",
        index=None,
        vram_total=memory.total,
        vram_free=memory.available,
        torch_vram_total=memory.total,
        torch_vram_free=memory.available,
    )


def _cuda(index: int) -> Device:
    free, total = torch.cuda.mem_get_info(index)
    reserved = torch.cuda.memory_reserved(index)
    unused = reserved - torch.cuda.memory_allocated(index)  # torch holds it, tensors do not
    return Device(
        name=f"cuda:{index} {torch.cuda.get_device_name(index)}",
        type="cuda",
        index=index,
        vram_total=total,
        vram_free=free + unused,
        torch_vram_total=reserved,
        torch_vram_free=unused,
    )
