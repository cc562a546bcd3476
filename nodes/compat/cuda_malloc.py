"""Names around the CUDA allocator. The allocator is chosen when a worker starts, so nothing here changes it."""

import subprocess

from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


def get_gpu_names() -> set[str]:
    """The names of NVIDIA cards, as nvidia-smi tells them; empty without it."""
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return set()
    return {line.split(":", 1)[1].split("(UUID")[0].strip() for line in told.splitlines() if ":" in line}


def cuda_malloc_supported() -> bool:
    """Whether a card is there whose driver can allocate asynchronously."""
    return bool(get_gpu_names())


def get_torch_version() -> str:
    """The version of torch."""
    import torch

    return str(torch.__version__)
