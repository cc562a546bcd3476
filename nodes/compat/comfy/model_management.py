"""Devices, number types and memory as packs ask for them: Weft's own answers under the usual names."""

from __future__ import annotations

import enum
import gc
import platform
import threading
from collections.abc import Iterable, Sequence

import psutil
import torch
from torch import Tensor, nn

from comfy.cli_args import args
from executor import context
from executor.errors import Interrupted
from executor.inference import devices
from executor.inference.memory import Memory
from nodes import bridge
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)

InterruptProcessingException = Interrupted
OOM_EXCEPTION = torch.cuda.OutOfMemoryError

WINDOWS = platform.system() == "Windows"
XFORMERS_IS_AVAILABLE = False
XFORMERS_ENABLED_VAE = False
XFORMERS_VERSION = ""
ENABLE_PYTORCH_ATTENTION = True
SUPPORT_FP8_OPS = False
FORCE_FP16 = False
FORCE_FP32 = False
DISABLE_SMART_MEMORY = False
MIN_WEIGHT_MEMORY_RATIO = 0.4
NUM_STREAMS = 0
STREAMS: dict[object, object] = {}
VAE_DTYPES = [torch.float32]
FLOAT8_TYPES = [torch.float8_e4m3fn, torch.float8_e5m2]
LOWEST_FREE_BYTES = 1 << 30

interrupt_processing_mutex = threading.RLock()
directml_enabled = False
lowvram_available = True
xpu_available = False
npu_available = False
mlu_available = False


class VRAMState(enum.Enum):
    """How much of the models the device may hold."""

    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


class CPUState(enum.Enum):
    """What kind of device computes."""

    GPU = 0
    CPU = 1
    MPS = 2


def _memory() -> Memory:
    return bridge.services().memory


# ---------------------------------------------------------------- devices


def get_torch_device() -> torch.device:
    """The device that computes."""
    return devices.choose_device(bridge.services().settings.vram_mode)


def is_device_type(device: object, type: str) -> bool:
    return getattr(device, "type", str(device).partition(":")[0]) == type


def is_device_cpu(device: object) -> bool:
    return is_device_type(device, "cpu")


def is_device_mps(device: object) -> bool:
    return is_device_type(device, "mps")


def is_device_xpu(device: object) -> bool:
    return is_device_type(device, "xpu")


def is_device_cuda(device: object) -> bool:
    return is_device_type(device, "cuda")


def get_autocast_device(dev: object) -> str:
    return str(getattr(dev, "type", "cuda"))


def cpu_mode() -> bool:
    return cpu_state == CPUState.CPU


def mps_mode() -> bool:
    return False


def is_nvidia() -> bool:
    return cpu_state == CPUState.GPU and bool(torch.version.cuda)


def is_amd() -> bool:
    return cpu_state == CPUState.GPU and bool(torch.version.hip)


def is_intel_xpu() -> bool:
    return False


def is_ascend_npu() -> bool:
    return False


def is_mlu() -> bool:
    return False


def is_ixuca() -> bool:
    return False


def is_wsl() -> bool:
    return "microsoft" in platform.uname().release.lower()


def is_directml_enabled() -> bool:
    return False


def amd_min_version(device: object = None, min_rdna_version: int = 0) -> bool:
    return False


def get_torch_device_name(device: torch.device) -> str:
    """What people call a device."""
    if is_device_cuda(device):
        return f"{device} {torch.cuda.get_device_name(device)} : native"
    return str(getattr(device, "type", device))


def intermediate_device() -> torch.device:
    """Where pictures and latents lie between nodes."""
    return get_torch_device() if args.gpu_only else devices.CPU


def _resting() -> torch.device:
    return get_torch_device() if bridge.services().settings.vram_mode in ("high", "gpu-only") else devices.CPU


def unet_offload_device() -> torch.device:
    """Where diffusion models lie while they are not used."""
    return _resting()


def unet_inital_load_device(parameters: int, dtype: torch.dtype) -> torch.device:
    """Where a diffusion model of so many weights is made."""
    device = get_torch_device()
    return device if get_free_memory(device) > parameters * dtype_size(dtype) else unet_offload_device()


unet_initial_load_device = unet_inital_load_device  # both spellings are asked for


def text_encoder_offload_device() -> torch.device:
    return get_torch_device() if args.gpu_only else devices.CPU


def text_encoder_device() -> torch.device:
    return get_torch_device()


def text_encoder_initial_device(
    load_device: torch.device, offload_device: torch.device, model_size: int = 0
) -> torch.device:
    return offload_device


def vae_device() -> torch.device:
    return get_torch_device()


def vae_offload_device() -> torch.device:
    return get_torch_device() if args.gpu_only else devices.CPU


def controlnet_device() -> torch.device:
    return get_torch_device()


def pick_device_cpu_or_gpu() -> torch.device:
    return get_torch_device()


# ---------------------------------------------------------------- memory


def get_total_memory(dev: torch.device | None = None, torch_total_too: bool = False) -> int | tuple[int, int]:
    """All memory of a device in bytes; with the second flag also the part that torch may take."""
    total = devices.total_bytes(dev or get_torch_device())
    return (total, total) if torch_total_too else total


def get_free_memory(dev: torch.device | None = None, torch_free_too: bool = False) -> int | tuple[int, int]:
    """Bytes of a device that new tensors can take; with the second flag also those that torch holds unused."""
    device = torch.device(dev) if dev is not None else get_torch_device()
    free = devices.free_bytes(device)
    held = 0
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free, held) if torch_free_too else free


def free_memory(
    memory_required: float, device: torch.device | None, keep_loaded: Sequence[object] = (), **options: object
) -> list[object]:
    """Release the longest unused models until so many bytes are free; answers with an empty list."""
    if device is None or device.type == _memory().device.type:
        _memory().evict(int(memory_required))
    return []


def load_models_gpu(
    models: Iterable[object], memory_required: float = 0, force_patch_weights: bool = False,
    minimum_memory_required: float | None = None, force_full_load: bool = False,
) -> None:  # fmt: skip
    """Make models ready to compute; each is a handle with `load`, or has a `patcher` that is one."""
    for model in models:
        handle = getattr(model, "patcher", model)
        load = getattr(handle, "load", None)
        if callable(load):
            load()
        elif isinstance(getattr(handle, "model", None), nn.Module):
            handle.model.to(getattr(handle, "load_device", get_torch_device()))


def load_model_gpu(model: object) -> None:
    load_models_gpu([model])


def loaded_models(only_currently_used: bool = False) -> list[object]:
    """The modules whose weights are on the device."""
    return list(_memory().resident())


class LoadedModel:
    """A model that was loaded through this module."""

    def __init__(self, model: object) -> None:
        self.model = model
        self.device = getattr(model, "load_device", get_torch_device())
        self.currently_used = True

    def model_memory(self) -> int:
        return int(getattr(self.model, "nbytes", 0))

    def model_unload(self, memory_to_free: float | None = None, unpatch_weights: bool = True) -> bool:
        unload_all_models()
        return True


current_loaded_models: list[LoadedModel] = []


def unload_all_models() -> None:
    """Take every model off the device."""
    bridge.services().unload_models()


def cleanup_models() -> None:
    gc.collect()


def cleanup_models_gc() -> None:
    gc.collect()


def soft_empty_cache(force: bool = False) -> None:
    """Give memory that torch holds unused back to the device."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def minimum_inference_memory() -> int:
    return LOWEST_FREE_BYTES


def extra_reserved_memory() -> int:
    return int((bridge.services().settings.reserve_vram_gb or 0.0) * 2**30)


def maximum_vram_for_weights(device: torch.device | None = None) -> float:
    return get_total_memory(device) * 0.88 - minimum_inference_memory()


def use_more_memory(extra_memory: float, loaded_models: Sequence[object], device: torch.device) -> None:
    return None


def offloaded_memory(loaded_models: Sequence[object], device: torch.device) -> int:
    return 0


def module_size(module: nn.Module) -> int:
    """Bytes of a module's weights and buffers."""
    return sum(weight.nbytes for weight in module.state_dict().values())


def module_mmap_residency(module: nn.Module, free: bool = False) -> tuple[int, int]:
    return 0, module_size(module)


# ---------------------------------------------------------------- number types


def dtype_size(dtype: torch.dtype | None) -> int:
    """Bytes of one number; None counts as a float32."""
    return 4 if dtype is None else dtype.itemsize


def supports_dtype(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device computes in a type."""
    return dtype == torch.float32 or (not is_device_cpu(device) and dtype in (torch.float16, torch.bfloat16))


def supports_cast(device: torch.device, dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.float16, torch.bfloat16, *FLOAT8_TYPES)


def supports_fp8_compute(device: torch.device | None = None) -> bool:
    return False


def should_use_fp16(
    device: torch.device | None = None, model_params: int = 0, prioritize_performance: bool = True,
    manual_cast: bool = False,
) -> bool:  # fmt: skip
    """Whether a model computes in float16 on a device: on a GPU."""
    device = device or get_torch_device()
    return is_device_cuda(device)


def should_use_bf16(
    device: torch.device | None = None, model_params: int = 0, prioritize_performance: bool = True,
    manual_cast: bool = False,
) -> bool:  # fmt: skip
    """Whether a model computes in bfloat16 on a device: on a GPU that knows it."""
    device = device or get_torch_device()
    return is_device_cuda(device) and torch.cuda.get_device_capability(device)[0] >= 8


def extended_fp16_support() -> bool:
    return False


def unet_dtype(
    device: torch.device | None = None, model_params: int = 0,
    supported_dtypes: Sequence[torch.dtype] = (torch.float16, torch.bfloat16, torch.float32),
    weight_dtype: torch.dtype | None = None,
) -> torch.dtype:  # fmt: skip
    """The type in which the weights of a diffusion model are kept."""
    if torch.float16 in supported_dtypes and should_use_fp16(device, model_params):
        return torch.float16
    if torch.bfloat16 in supported_dtypes and should_use_bf16(device, model_params):
        return torch.bfloat16
    return torch.float32


def unet_manual_cast(
    weight_dtype: torch.dtype | None, inference_device: torch.device,
    supported_dtypes: Sequence[torch.dtype] = (torch.float16, torch.bfloat16, torch.float32),
) -> torch.dtype | None:  # fmt: skip
    """The type a model computes in, where that is not the type of its weights; else None."""
    computed = unet_dtype(inference_device, supported_dtypes=supported_dtypes)
    return None if weight_dtype in (None, torch.float32, torch.float64, computed) else computed


def text_encoder_dtype(device: torch.device | None = None) -> torch.dtype:
    return torch.float16 if should_use_fp16(device) else torch.float32


def vae_dtype(device: torch.device | None = None, allowed_dtypes: Sequence[torch.dtype] = ()) -> torch.dtype:
    return torch.float32


def pick_weight_dtype(
    dtype: torch.dtype | None, fallback_dtype: torch.dtype, device: torch.device | None = None
) -> torch.dtype:
    return dtype if dtype is not None and supports_cast(device, dtype) else fallback_dtype


def force_upcast_attention_dtype() -> dict[torch.dtype, torch.dtype] | None:
    return None


def device_supports_non_blocking(device: torch.device) -> bool:
    return is_device_cuda(device)


def device_should_use_non_blocking(device: torch.device) -> bool:
    return False


def force_channels_last() -> bool:
    return bool(args.force_channels_last)


def cast_to(
    weight: Tensor, dtype: torch.dtype | None = None, device: torch.device | None = None,
    non_blocking: bool = False, copy: bool = False, stream: object = None, r: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A tensor in a type and on a device; itself if it is there and no copy is wanted."""
    moved = weight.to(device=device, dtype=dtype, copy=copy, non_blocking=non_blocking)
    return moved if r is None else r.copy_(moved)


def cast_to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None, copy: bool = False) -> Tensor:
    return cast_to(tensor, dtype=dtype, device=device, copy=copy)


def resolve_lowvram_weight(weight: Tensor, model: object, key: str) -> Tensor:
    return weight


def get_offload_stream(device: torch.device) -> None:
    return None


def sync_stream(device: torch.device, stream: object) -> None:
    return None


def xformers_enabled() -> bool:
    return False


def xformers_enabled_vae() -> bool:
    return False


def pytorch_attention_enabled() -> bool:
    return True


def pytorch_attention_enabled_vae() -> bool:
    return True


def pytorch_attention_flash_attention() -> bool:
    return is_nvidia()


def flash_attention_enabled() -> bool:
    return False


def sage_attention_enabled() -> bool:
    return False


# ---------------------------------------------------------------- interrupt


def interrupt_current_processing(value: bool = True) -> None:
    """Ask the running prompt to stop."""
    if value:
        line = bridge.services().line
        if line is not None:
            line.interrupt()


def processing_interrupted() -> bool:
    """Whether the running prompt was asked to stop."""
    if context.current().interrupt.is_set():
        return True
    flag = getattr(bridge.services().line, "flag", None)
    return flag is not None and flag.is_set()


def throw_exception_if_processing_interrupted() -> None:
    """Raise InterruptProcessingException if the running prompt was asked to stop."""
    if processing_interrupted():
        raise InterruptProcessingException("the prompt was interrupted")


# ---------------------------------------------------------------- what was found at the start

cpu_state = CPUState.GPU if get_torch_device().type == "cuda" else CPUState.CPU
total_ram = psutil.virtual_memory().total / (1 << 20)
total_vram = get_total_memory(get_torch_device()) / (1 << 20)
_STATES = {
    "cpu": VRAMState.DISABLED,
    "none": VRAMState.NO_VRAM,
    "low": VRAMState.LOW_VRAM,
    "auto": VRAMState.NORMAL_VRAM,
}
vram_state = _STATES.get(bridge.services().settings.vram_mode, VRAMState.HIGH_VRAM)
if cpu_state is CPUState.CPU:
    vram_state = VRAMState.DISABLED
set_vram_to = vram_state
