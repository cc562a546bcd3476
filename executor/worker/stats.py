"""What a worker tells of its devices: names and bytes, as /system_stats lists them."""

from __future__ import annotations

import psutil
import torch

from executor.messages import Device


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


def set_threads() -> None:
    """Let torch use as many threads as there are cores, hyperthreads not counted."""
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)


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
