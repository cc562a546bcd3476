"""Every option of Weft: the frozen Settings and the flag table that makes the command line, its help and its docs."""

from __future__ import annotations

import argparse
import difflib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from executor.keeping import EXAMPLES, keep_of

MEMORY, CACHE = "how memory is used", "which results are kept"
NETWORKS, AUTOENCODERS = "the type that networks compute in", "the type that autoencoders compute in"

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

SHORTEST_START = 6  # characters of a flag that begins as one of ours does and counts as a slip of the hand
LIKENESS = 0.8  # of an unknown flag to one of ours, from which on it is a slip of the hand (difflib's ratio)

_CHOICES = (
    ("preview_method", "--preview-method", ("none", "auto", "latent2rgb", "taesd")),
    ("queue_items", "--queue-items", ("comfyui", "id-first")),
    ("log_format", "--log-format", ("text", "json")),
)

_LIMITS = (
    ("port", "--port", 0, 65535),
    ("workers", "--workers", 1, 64),
    ("max_upload_mb", "--max-upload-size", 0, 1e6),
    ("reserve_vram_gb", "--reserve-vram", 0, 1e6),
    ("cache_size", "--cache-lru", 0, 10**9),
    ("cache_ram_gb", "--cache-ram", 0, 1e6),
    ("preview_size", "--preview-size", 1, 16384),
    ("history_limit", "--history-limit", 1, 10**9),
    ("max_queue", "--max-queue", 0, 10**9),
    ("job_timeout_s", "--job-timeout", 0, 1e9),
    ("startup_wait_s", "--startup-wait", 0, 1e9),
    ("drain_timeout_s", "--drain-timeout", 0, 1e9),
)


_KEEPS = {flag.field: flag.names[0] for flag in FLAGS if flag.heading == KEEPING and flag.many}


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def build_parser(prog: str = "weft") -> argparse.ArgumentParser:
    """The command line as argparse knows it, made from the flag table; `prog` names in errors where it comes from."""
    parser = _Parser(
        prog=prog,
        description="Weft: a server that runs ComfyUI workflows.",
        epilog="Beside serving: weft config, weft doctor, weft clean, weft profile WORKFLOW.json (docs/operations.md).",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    headings = {KEEPING: parser.add_argument_group(KEEPING, KEEPING_HELP)}
    rivals = {name: parser.add_mutually_exclusive_group() for name in (MEMORY, CACHE, NETWORKS, AUTOENCODERS)}
    for flag in FLAGS:
        _add(rivals[flag.rivals] if flag.rivals else headings.get(flag.heading or "", parser), flag)
    for name in ACCEPTED_WITHOUT_EFFECT:
        parser.add_argument(name, action="append_const", const=name, dest="ignored", help=argparse.SUPPRESS)
    return parser


def _refuse_misspelt(parser: argparse.ArgumentParser, strange: Sequence[str]) -> None:
    """End the program for words that belong to no flag, and for flags that are nearly one of ours."""
    if strange and not strange[0].startswith("--"):
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    for flag in (word.partition("=")[0] for word in strange if word.startswith("--")):
        near = meant_flag(flag)
        if near is not None:
            parser.error(f"there is no {flag}; did you mean {near}?")


def meant_flag(flag: str) -> str | None:
    """The flag that somebody means by one that does not exist: it begins so, or is nearly the same; None for none."""
    known = [name for flag in FLAGS for name in flag.names]
    longer = [name for name in known if len(flag) >= SHORTEST_START and name.startswith(flag)]
    return next(iter(longer or difflib.get_close_matches(flag, known, n=1, cutoff=LIKENESS)), None)


def _add(parser: argparse._ActionsContainer, flag: Flag) -> None:
    shared: dict[str, Any] = {"dest": flag.field, "help": flag.help}
    if flag.kind is None:
        parser.add_argument(*flag.names, **shared, action="store_const", const=flag.const)
        return
    shared |= {"type": flag.kind, "metavar": flag.metavar}
    if flag.many:
        shared |= {"nargs": "+", "action": "extend"}
    elif flag.optional_value:
        shared |= {"nargs": "?", "const": flag.const}
    parser.add_argument(*flag.names, **shared)


def parse_flags(argv: Sequence[str], prog: str = "weft") -> tuple[dict[str, object], list[str]]:
    """The fields that a command line sets, and the flags that were accepted without effect.

    Raises SystemExit (argparse) for a misspelt flag, a bad value or a stray word. Flags that resemble none of these are
    ComfyUI's, which has many and gets more: scripts pass them, so they are taken with their values and told as ignored.
    """
    parser = build_parser(prog)
    parsed, strange = parser.parse_known_args(argv)
    _refuse_misspelt(parser, strange)
    given = vars(parsed)
    ignored = [*given.pop("ignored", []), *strange]
    if "cache_size" in given:
        given["cache_mode"] = "lru" if given["cache_size"] else "classic"
    if "cache_ram_gb" in given:
        given["cache_mode"] = "ram"
    for name, spelling, choices in _CHOICES:
        if given.get(name, choices[0]) not in choices:
            parser.error(f"{spelling}: {given[name]!r} is none of {', '.join(choices)}")
    for name, spelling, least, most in _LIMITS:
        if name in given and not least <= given[name] <= most:  # nan is not within any limits
            parser.error(f"{spelling}: {given[name]} is not within {least:g} and {most:g}")
    for name in ("model_paths", "allowed_packs", "allowed_hosts", "allow_outbound", *_KEEPS):
        if name in given:
            given[name] = tuple(given[name])
    for name, spelling in _KEEPS.items():
        try:
            keep = keep_of(given.get(name, ()))
        except ValueError as error:
            parser.error(f"{spelling}: {error}")
        if name == "keep_history" and keep.count is not None:
            parser.error(f"{spelling} bounds age and size; --history-limit says how many prompts are remembered")
    return given, ignored


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Settings with these fields set; the base directory is the current one if none is among them."""
    return Settings(**{"base_directory": Path.cwd(), **given})
