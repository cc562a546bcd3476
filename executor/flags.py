"""The flag table: it makes the command line, its help, `weft config` and README's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from executor.keeping import EXAMPLES
from executor.settings import DtypeName, VramMode

MEMORY, CACHE = "how memory is used", "which results are kept"
NETWORKS, AUTOENCODERS = "the type that networks compute in", "the type that autoencoders compute in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One row of the flag table: spellings on the command line, the field it sets, and how."""

    names: tuple[str, ...]
    field: str
    help: str
    kind: Callable[[str], object] | None = None  # None: a switch
    const: object = True  # value of a switch, or of an option given without its argument
    optional_value: bool = False
    many: bool = False
    metavar: str | None = None
    heading: str | None = None  # where it stands in the help
    rivals: str | None = None  # what only one of several flags may choose


def _path(flag: str, field_name: str, text: str) -> Flag:
    return Flag(names=(flag,), field=field_name, kind=Path, metavar="FOLDER", help=text)


def _vram(flag: str, mode: VramMode, text: str) -> Flag:
    return Flag(names=(flag,), field="vram_mode", const=mode, rivals=MEMORY, help=text)


def _unet(flag: str, dtype: DtypeName, text: str) -> Flag:
    return Flag(names=(flag,), field="unet_dtype", const=dtype, rivals=NETWORKS, help=text)


def _vae(flag: str, dtype: DtypeName, text: str) -> Flag:
    return Flag(names=(flag,), field="vae_dtype", const=dtype, rivals=AUTOENCODERS, help=text)


def _cache(flag: str, mode: str, text: str) -> Flag:
    return Flag(names=(flag,), field="cache_mode", const=mode, rivals=CACHE, help=text)


KEEPING = "what is kept"
KEEPING_HELP = f"each takes one or more bounds: {EXAMPLES}; or the word all. What is too much goes, the oldest first."


def _keep(what: str, text: str) -> Flag:
    return Flag(
        names=(f"--keep-{what}",),
        field=f"keep_{what}",
        kind=str,
        many=True,
        metavar="BOUND",
        heading=KEEPING,
        help=text,
    )


FLAGS: tuple[Flag, ...] = (
    Flag(
        names=("--listen",),
        field="host",
        kind=str,
        const="0.0.0.0,::",
        optional_value=True,
        metavar="ADDRESS",
        help="address to listen on (several with commas); alone: every address of this machine",
    ),
    Flag(names=("--port",), field="port", kind=int, metavar="N", help="TCP port; 0 takes a free one"),
    Flag(names=("--tls-keyfile",), field="tls_key", kind=Path, metavar="FILE", help="private key: serve HTTPS"),
    Flag(names=("--tls-certfile",), field="tls_cert", kind=Path, metavar="FILE", help="certificate: serve HTTPS"),
    Flag(
        names=("--auth-token",),
        field="auth_token",
        kind=str,
        metavar="TOKEN",
        help="ask everybody for this token, which may do everything (better given as WEFT_AUTH_TOKEN, unseen by `ps`)",
    ),
    Flag(
        names=("--auth-keys",),
        field="auth_keys",
        kind=Path,
        metavar="FILE",
        help="ask everybody for a token of this key file, see docs/operations.md",
    ),
    Flag(names=("--no-auth",), field="no_auth", help="listen beyond this machine although no keys are asked for"),
    Flag(
        names=("--isolate-keys",),
        field="isolate_keys",
        help="each key sees only its own queue, history, files and events; one with `manage` sees all",
    ),
    Flag(
        names=("--allow-host",),
        field="allowed_hosts",
        kind=str,
        many=True,
        metavar="NAME",
        help="more names that browsers reach this server by; other names than this network's are refused without keys",
    ),
    Flag(
        names=("--enable-cors-header",),
        field="cors_origin",
        kind=str,
        const="*",
        optional_value=True,
        metavar="ORIGIN",
        help="let pages of this origin (alone: of any) call the API",
    ),
    Flag(
        names=("--webhook",),
        field="webhook",
        kind=str,
        metavar="URL",
        help="tell this address how every prompt ended, see docs/calls.md",
    ),
    Flag(
        names=("--webhook-secret",),
        field="webhook_secret",
        kind=str,
        metavar="SECRET",
        help="sign what webhooks tell with this secret (better given as WEFT_WEBHOOK_SECRET, unseen by `ps`)",
    ),
    Flag(
        names=("--public-url",),
        field="public_url",
        kind=str,
        metavar="URL",
        help="the address that clients know this server by: what answers and webhooks begin the files' addresses with",
    ),
    Flag(
        names=("--allow-outbound",),
        field="allow_outbound",
        kind=str,
        many=True,
        metavar="HOST_OR_CIDR",
        help="private hosts or networks that inputs given as URLs and webhooks may reach; without it none",
    ),
    Flag(
        names=("--max-upload-size",),
        field="max_upload_mb",
        kind=float,
        metavar="MB",
        help="largest request body in megabytes",
    ),
    Flag(names=("--enable-compress-response-body",), field="compress", help="gzip JSON and text answers"),
    _path("--base-directory", "base_directory", "where models, input, output, user, temp and custom_nodes lie"),
    _path("--input-directory", "input_directory", "where pictures that nodes load lie"),
    _path("--output-directory", "output_directory", "where results are saved"),
    _path("--temp-directory", "temp_directory", "parent of the temp folder, which is emptied at start and stop"),
    _path("--user-directory", "user_directory", "settings, workflows and the queue's database"),
    Flag(
        names=("--extra-model-paths-config",),
        field="model_paths",
        kind=Path,
        many=True,
        metavar="YAML",
        help="more model folders, in extra_model_paths.yaml's form",
    ),
    Flag(names=("--multi-user",), field="multi_user", help="one settings folder per user"),
    Flag(
        names=("--follow-symlinks",),
        field="follow_symlinks",
        help="let symbolic links in input, output, temp and user lead anywhere, not only into this server's folders",
    ),
    _path("--front-end-root", "front_end_root", "serve the web front end in this folder, not the installed package's"),
    Flag(
        names=("--front-end-version",),
        field="front_end_version",
        kind=str,
        metavar="OWNER/REPOSITORY@VERSION",
        help="serve this version of the web front end: the installed one, or one unpacked below web_custom_versions",
    ),
    Flag(
        names=("--queue-items",),
        field="queue_items",
        kind=str,
        metavar="comfyui|id-first",
        help="form of the items of GET /queue: ComfyUI's five values, or `[prompt_id, number, time]`",
    ),
    Flag(names=("--workers",), field="workers", kind=int, metavar="N", help="worker processes (default 1)"),
    Flag(names=("--in-process",), field="in_process", help="run nodes inside the server's process: for debugging"),
    Flag(
        names=("--cuda-device", "--default-device"),
        field="device",
        kind=str,
        metavar="ID",
        help="the CUDA device that the worker sees",
    ),
    _vram("--gpu-only", "gpu-only", "keep every model on the GPU"),
    _vram("--highvram", "high", "keep models on the GPU after use"),
    _vram("--normalvram", "auto", "undo an automatic low-memory mode"),
    _vram("--lowvram", "low", "keep weights in the file's type and cast them layer by layer: least memory"),
    _vram("--novram", "none", "as --lowvram, and nothing stays on the GPU between steps"),
    _vram("--cpu", "cpu", "use the CPU only"),
    Flag(
        names=("--reserve-vram",),
        field="reserve_vram_gb",
        kind=float,
        metavar="GB",
        help="GPU memory to leave to other programs",
    ),
    Flag(
        names=("--disable-cuda-graphs",),
        field="disable_cuda_graphs",
        help="launch every kernel of a network by itself, instead of playing back recorded calls",
    ),
    Flag(
        names=("--disable-gpu-layout",),
        field="disable_gpu_layout",
        help="leave weights on a GPU laid out as in the file: channels not side by side, projections apart",
    ),
    Flag(
        names=("--force-channels-last",),
        field="force_channels_last",
        help="lay the channels of a cell side by side in every network of pictures, in any type and on any device",
    ),
    Flag(
        names=("--compile",),
        field="compile",
        help="compile layers of networks beside the work, for later prompts: faster, last digits of pictures change",
    ),
    _unet("--fp32-unet", "float32", "compute diffusion models in float32"),
    _unet("--fp16-unet", "float16", "compute diffusion models in float16"),
    _unet("--bf16-unet", "bfloat16", "compute diffusion models in bfloat16"),
    _vae("--fp32-vae", "float32", "compute autoencoders in float32"),
    _vae("--fp16-vae", "float16", "compute autoencoders in float16: some then draw black pictures"),
    _vae("--bf16-vae", "bfloat16", "compute autoencoders in bfloat16 (default on GPUs that have it)"),
    _cache("--cache-classic", "classic", "keep results of the last prompt (default)"),
    _cache("--cache-none", "none", "keep no results: least memory"),
    Flag(
        names=("--cache-lru",),
        rivals=CACHE,
        field="cache_size",
        kind=int,
        metavar="N",
        help="keep the N newest results over several prompts (0: classic)",
    ),
    Flag(
        names=("--cache-ram",),
        rivals=CACHE,
        field="cache_ram_gb",
        kind=float,
        const=4.0,
        optional_value=True,
        metavar="GB",
        help="keep every result while so much main memory stays free (alone: 4), else drop the least valuable",
    ),
    Flag(
        names=("--preview-method",),
        field="preview_method",
        kind=str,
        metavar="none|auto|latent2rgb|taesd",
        help="pictures of the work so far",
    ),
    Flag(names=("--preview-size",), field="preview_size", kind=int, metavar="PX", help="longest side of a preview"),
    Flag(names=("--disable-metadata",), field="disable_metadata", help="save pictures without prompt and workflow"),
    Flag(names=("--disable-all-custom-nodes",), field="disable_custom_nodes", help="load no packs"),
    Flag(
        names=("--whitelist-custom-nodes",),
        field="allowed_packs",
        kind=str,
        many=True,
        metavar="PACK",
        help="packs to load despite --disable-all-custom-nodes",
    ),
    Flag(
        names=("--history-limit",),
        field="history_limit",
        kind=int,
        metavar="N",
        heading=KEEPING,
        help="finished prompts to remember",
    ),
    _keep("outputs", "pictures and other files that jobs saved (default: all)"),
    _keep("temp", "previews and other files in the temp folder (default: 7d)"),
    _keep("inputs", "files that prompts brought as addresses or text (default: 30d)"),
    _keep("history", "finished prompts in the history, by age and size (default: all)"),
    Flag(
        names=("--max-queue",),
        field="max_queue",
        kind=int,
        metavar="N",
        help="prompts that may wait before more are refused with 429 (default 10000; 0: any number)",
    ),
    Flag(
        names=("--job-timeout",),
        field="job_timeout_s",
        kind=float,
        metavar="S",
        help="how long a prompt may run before it is ended as failed (default 0: as long as it likes)",
    ),
    Flag(
        names=("--startup-wait",),
        field="startup_wait_s",
        kind=float,
        metavar="S",
        help="how long a request may wait for the first worker before it gets 503",
    ),
    Flag(
        names=("--drain-timeout",),
        field="drain_timeout_s",
        kind=float,
        metavar="S",
        help="how long a running prompt may go on at an orderly stop before it goes back to the queue",
    ),
    Flag(
        names=("--verbose",),
        field="log_level",
        kind=str,
        const="DEBUG",
        optional_value=True,
        metavar="LEVEL",
        help="DEBUG, INFO, WARNING, ERROR or CRITICAL",
    ),
    Flag(
        names=("--log-format",),
        field="log_format",
        kind=str,
        metavar="text|json",
        help="lines for people, or one JSON object a line, with the id of the prompt it is about",
    ),
)

ACCEPTED_WITHOUT_EFFECT: tuple[str, ...] = (
    "--auto-launch",
    "--disable-auto-launch",
    "--windows-standalone-build",
    "--dont-print-server",
    "--force-fp32",
    "--disable-xformers",
    "--use-pytorch-cross-attention",
    "--disable-smart-memory",
    "--disable-api-nodes",
    "--dont-upcast-attention",
    "--quick-test-for-ci",
)
"""Switches of ComfyUI's command line that scripts pass and that change nothing here (logged)."""
