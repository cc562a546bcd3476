"""Devices as /system_stats lists them."""

import psutil
import pytest
import torch

from executor.worker.stats import device_works, devices, is_device_lost


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
