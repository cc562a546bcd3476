"""Every option of Weft: the frozen Settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

DtypeName = Literal["float32", "float16", "bfloat16"]
VramMode = Literal["auto", "high", "low", "none", "cpu", "gpu-only"]


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's loopback; names are not looked up but `localhost`."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user decided; one field per flag (groups of exclusive flags share a field)."""

    host: str = "127.0.0.1"
    port: int = 8188
    tls_key: Path | None = None
    tls_cert: Path | None = None
    auth_token: str | None = field(default=None, repr=False)
    auth_keys: Path | None = None
    no_auth: bool = False
    isolate_keys: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origin: str | None = None
    public_url: str | None = None
    webhook: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    allow_outbound: tuple[str, ...] = ()
    max_upload_mb: float = 100.0
    compress: bool = False
    base_directory: Path = Path()
    input_directory: Path | None = None
    output_directory: Path | None = None
    temp_directory: Path | None = None
    user_directory: Path | None = None
    model_paths: tuple[Path, ...] = ()
    multi_user: bool = False
    follow_symlinks: bool = False
    front_end_root: Path | None = None
    front_end_version: str | None = None
    queue_items: Literal["comfyui", "id-first"] = "comfyui"
    workers: int = 1
    in_process: bool = False
    device: str | None = None
    vram_mode: VramMode = "auto"
    reserve_vram_gb: float | None = None
    cache_mode: Literal["classic", "lru", "none", "ram"] = "classic"
    cache_size: int = 0
    cache_ram_gb: float = 4.0
    preview_method: Literal["none", "auto", "latent2rgb", "taesd"] = "auto"
    preview_size: int = 512
    disable_metadata: bool = False
    disable_cuda_graphs: bool = False
    disable_gpu_layout: bool = False
    force_channels_last: bool = False
    compile: bool = False
    unet_dtype: DtypeName | None = None
    vae_dtype: DtypeName | None = None
    disable_custom_nodes: bool = False
    allowed_packs: tuple[str, ...] = ()
    history_limit: int = 10000
    keep_outputs: tuple[str, ...] = ()
    keep_temp: tuple[str, ...] = ("7d",)
    keep_inputs: tuple[str, ...] = ("30d",)
    keep_history: tuple[str, ...] = ()
    max_queue: int = 10000
    job_timeout_s: float = 0.0
    startup_wait_s: float = 60.0
    drain_timeout_s: float = 30.0
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"

    @property
    def upload_bytes(self) -> int:
        """The largest request body, and the largest file that is fetched."""
        return max(1, round(self.max_upload_mb * 1024 * 1024))

    def open_hosts(self) -> list[str]:
        """The addresses to listen on that others than this machine may reach."""
        return [host for host in map(str.strip, self.host.split(",")) if not is_loopback(host)]

    def is_shared(self) -> bool:
        """Tell whether others than who sits at this machine may be meant to send prompts.

        It listens beyond this machine, or there are keys to hand out or a name to reach it by, as behind a proxy.
        """
        keyed = self.auth_token is not None or self.auth_keys is not None
        return bool(self.open_hosts() or keyed or self.allowed_hosts)

    def without_secrets(self) -> Settings:
        """The same settings as workers get them: that there is a token is told, not which."""
        return replace(self, auth_token=None if self.auth_token is None else "")

    def folder(self, name: Literal["input", "output", "temp", "user", "models", "custom_nodes"]) -> Path:
        """The absolute path of one of the data folders."""
        chosen = {
            "input": self.input_directory,
            "output": self.output_directory,
            "temp": self.temp_directory / "temp" if self.temp_directory else None,
            "user": self.user_directory,
        }.get(name)
        return (chosen or self.base_directory / name).absolute()


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Settings with these fields set; the base directory is the current one if none is among them."""
    return Settings(**{"base_directory": Path.cwd(), **given})
