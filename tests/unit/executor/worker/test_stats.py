"""Devices as /system_stats lists them."""

import psutil

from executor.worker.stats import device_works, devices


def test_the_cpu_stands_in_with_the_machine_s_memory():
    (device,) = devices(cpu_only=True)
    assert (device.name, device.type, device.index) == ("cpu", "cpu", None)
    assert device.vram_total == device.torch_vram_total == psutil.virtual_memory().total
    assert 0 < device.vram_free <= device.vram_total


def test_an_unused_device_counts_as_working():
    assert device_works()
