"""The command line as packs read it: a namespace with the usual attributes, made of Weft's Settings.

Assigning `preview_method` takes effect: in the prompt that runs for its time, between prompts from the next one on.
Assigning another attribute changes this namespace and nothing else.
"""

from __future__ import annotations

import argparse
import enum

from executor.context import PreviewChoice
from executor.settings import Settings
from nodes import bridge
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


class EnumAction(argparse.Action):
    """Reads a member of an enumeration by its value."""

    def __init__(self, *, type: type[enum.Enum], **options: object) -> None:
        self._members = type
        super().__init__(choices=tuple(member.value for member in type), **options)  # type: ignore[arg-type]

    def __call__(self, parser: object, namespace: object, values: object, option: str | None = None) -> None:
        setattr(namespace, self.dest, self._members(values))


class LatentPreviewMethod(enum.Enum):
    """How pictures of the work so far are made."""

    NoPreviews = "none"
    Auto = "auto"
    Latent2RGB = "latent2rgb"
    TAESD = "taesd"

    @classmethod
    def from_string(cls, value: str) -> LatentPreviewMethod | None:
        """The method of that name; None for "default" or an unknown one."""
        return next((member for member in cls if member.value == value), None)


class PerformanceFeature(enum.Enum):
    """Values of the flag --fast, none of which Weft has."""

    Fp16Accumulation = "fp16_accumulation"
    Fp8MatrixMultiplication = "fp8_matrix_mult"
    CublasOps = "cublas_ops"
    AutoTune = "autotune"


OFF = (
    "cuda_malloc", "disable_cuda_malloc", "force_fp32", "force_fp16", "fp64_unet",
    "fp8_e4m3fn_unet", "fp8_e5m2_unet", "fp8_e8m0fnu_unet",
    "cpu_vae", "fp8_e4m3fn_text_enc", "fp8_e5m2_text_enc", "fp16_text_enc", "fp32_text_enc",
    "bf16_text_enc", "oneapi_device_selector", "disable_ipex_optimize", "supports_fp8_compute",
    "cache_ram", "use_split_cross_attention", "use_quad_cross_attention", "use_sage_attention", "use_flash_attention",
    "disable_xformers", "force_upcast_attention", "dont_upcast_attention", "async_offload", "disable_async_offload",
    "force_non_blocking", "disable_smart_memory", "deterministic", "mmap_torch_files", "disable_mmap",
    "dont_print_server", "quick_test_for_ci", "windows_standalone_build", "log_stdout", "disable_assets_autoscan",
    "enable_manager", "disable_pinned_memory", "disable_api_nodes", "auto_launch", "enable_assets",
)  # fmt: skip
"""Switches that are off, and stay so."""


class Namespace(argparse.Namespace):
    """The usual namespace, whose `preview_method` is Weft's own."""

    @property
    def preview_method(self) -> LatentPreviewMethod:
        """How pictures of the work so far are made at this moment."""
        return LatentPreviewMethod(_previews().method)

    @preview_method.setter
    def preview_method(self, method: LatentPreviewMethod | str) -> None:
        _previews().method = LatentPreviewMethod(method).value


def _previews() -> PreviewChoice:
    """The choice of the prompt that runs, or that of those to come."""
    services = bridge.services()
    running = services.line.previews if services.line is not None else None
    return running or services.previews


def view(settings: Settings) -> Namespace:
    """The namespace of a command line that would have given these settings."""
    mode = settings.vram_mode
    return Namespace(
        **dict.fromkeys(OFF, False),
        listen=settings.host,
        port=settings.port,
        tls_keyfile=str(settings.tls_key) if settings.tls_key else None,
        tls_certfile=str(settings.tls_cert) if settings.tls_cert else None,
        enable_cors_header=settings.cors_origin,
        max_upload_size=settings.max_upload_mb,
        base_directory=str(settings.base_directory.absolute()),
        input_directory=str(settings.input_directory) if settings.input_directory else None,
        output_directory=str(settings.output_directory) if settings.output_directory else None,
        temp_directory=str(settings.temp_directory) if settings.temp_directory else None,
        user_directory=str(settings.user_directory) if settings.user_directory else None,
        extra_model_paths_config=[[str(path)] for path in settings.model_paths] or None,
        cuda_device=settings.device,
        default_device=settings.device,
        directml=None,
        use_pytorch_cross_attention=True,
        fp32_unet=settings.unet_dtype == "float32",
        fp16_unet=settings.unet_dtype == "float16",
        bf16_unet=settings.unet_dtype == "bfloat16",
        fp32_vae=settings.vae_dtype == "float32",
        fp16_vae=settings.vae_dtype == "float16",
        bf16_vae=settings.vae_dtype == "bfloat16",
        force_channels_last=settings.force_channels_last,
        gpu_only=mode == "gpu-only",
        highvram=mode == "high",
        normalvram=False,
        lowvram=mode == "low",
        novram=mode == "none",
        cpu=mode == "cpu",
        reserve_vram=settings.reserve_vram_gb,
        cache_classic=settings.cache_mode == "classic",
        cache_lru=settings.cache_size,
        cache_none=settings.cache_mode == "none",
        preview_size=settings.preview_size,
        default_hashing_function="sha256",
        fast=set(),
        disable_metadata=settings.disable_metadata,
        disable_all_custom_nodes=settings.disable_custom_nodes,
        whitelist_custom_nodes=list(settings.allowed_packs),
        multi_user=settings.multi_user,
        verbose=settings.log_level,
        front_end_version=settings.front_end_version or "",
        front_end_root=str(settings.front_end_root) if settings.front_end_root else None,
        enable_compress_response_body=settings.compress,
        comfy_api_base="",
        database_url="",
    )


parser = argparse.ArgumentParser(prog="weft", add_help=False)
args = view(bridge.services().settings)
