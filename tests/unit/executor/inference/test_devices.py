"""Where modules of each role are kept and in which type they compute."""

import pytest
import torch

from executor.command_line import parse_flags
from executor.inference.devices import (
    CPU,
    Ways,
    choose_device,
    free_bytes,
    is_out_of_memory,
    place,
    streamed,
    total_bytes,
    ways_of,
)
from executor.settings import settings_of

CUDA = torch.device("cuda", 0)
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("role", "device", "file_dtype", "stored", "computed"),
    [
        ("diffusion", CPU, HALF, FULL, FULL),
        ("diffusion", CUDA, HALF, HALF, HALF),
        ("diffusion", CUDA, BRAIN, BRAIN, BRAIN),
        ("diffusion", CUDA, FULL, HALF, HALF),
        ("vae", CPU, HALF, FULL, FULL),
        ("vae", CUDA, HALF, BRAIN, BRAIN),
        ("text", CPU, HALF, None, FULL),
        ("text", CUDA, HALF, None, FULL),
    ],
)
def test_types_by_role_and_device(role, device, file_dtype, stored, computed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    placement = place(role, device, "auto", file_dtype)
    assert (placement.device, placement.dtype, placement.compute_dtype) == (device, stored, computed)


@pytest.mark.parametrize(("role", "computed"), [("diffusion", HALF), ("vae", FULL), ("text", FULL)])
def test_gpus_without_bfloat16(role, computed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert place(role, CUDA, "auto", BRAIN).compute_dtype == computed


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize(
    ("flag", "role", "computed"),
    [("--bf16-unet", "diffusion", BRAIN), ("--fp32-unet", "diffusion", FULL), ("--fp16-vae", "vae", HALF)],
)
def test_flags_choose_types(device, flag, role, computed):
    placement = place(role, device, "auto", HALF, ways_of(settings_of(parse_flags([flag])[0])))
    assert (placement.dtype, placement.compute_dtype) == (computed, computed)


def test_only_what_is_copied_to_a_gpu_in_sixteen_bits_is_laid_out():
    assert place("diffusion", CUDA, "auto", HALF).arranges
    assert not place("diffusion", CPU, "auto", HALF).arranges
    assert not place("diffusion", CUDA, "low", HALF).arranges
    assert not place("diffusion", CUDA, "auto", HALF, Ways(diffusion=FULL)).arranges


@pytest.mark.parametrize("mode", ["low", "none"])
@pytest.mark.parametrize("role", ["diffusion", "text", "vae"])
def test_low_memory_modes_leave_weights_in_the_file(mode, role, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    placement = place(role, CUDA, mode, HALF)
    assert (placement.device, placement.dtype, placement.compute_device) == (CPU, None, CUDA)


def test_resident_weights_need_no_cast():
    assert not place("diffusion", CPU, "auto", HALF).casts


def test_streamed_weights_are_cast():
    assert streamed(place("diffusion", CUDA, "auto", HALF)).casts


def test_the_cpu_can_be_asked_for():
    assert choose_device("cpu") == CPU


def test_free_memory_is_part_of_all_memory():
    assert 0 < free_bytes(CPU) < total_bytes(CPU)


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported elsewhere"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000 bytes"),
    ],
    ids=["python", "allocator", "driver", "cublas", "cudnn", "convolution", "older convolution", "cpu"],
)
def test_memory_that_ran_out_is_known_whoever_tells_it(failure: Exception):
    assert is_out_of_memory(failure)


def test_other_errors_of_a_device_are_no_want_of_memory():
    assert not is_out_of_memory(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("CUDA error: out of memory"))
