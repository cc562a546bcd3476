"""What `import nodes` and `import server` answer inside packs, and the ambient way of nodes/compat to the worker.

Packs import by name and pass nothing along, so here, and only here, is state that no argument hands down: the packs
of this worker, opened once before their first line runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

from executor import context
from executor.context import RunContext

if TYPE_CHECKING:
    from executor.files import Folders
    from executor.worker.services import Services
    from nodes.packs.report import Reports
    from nodes.prompt_server import PromptServer
    from nodes.registry import Registry

MAX_RESOLUTION = 16384  # the longest side that sizes of pictures are declared with
LIVE = ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "EXTENSION_WEB_DIRS", "LOADED_MODULE_DIRS")
"""Dicts on the module `nodes` that packs read, add to and replace."""


class Opened(Protocol):
    """What this needs of the packs."""

    @property
    def services(self) -> Services:
        """The worker's own things."""
        ...

    @property
    def reports(self) -> Reports:
        """What came of each pack."""
        ...

    @property
    def server(self) -> PromptServer:
        """The facade that packs call the server."""
        ...

    @property
    def registry(self) -> Registry | None:
        """The node classes; None while only prestartup scripts run."""
        ...


_opened: list[Opened] = []  # at most one


def open_for(packs: Opened) -> None:
    """Let imports inside packs find this worker; takes the place of what was open before."""
    from nodes.prompt_server import PromptServer

    _opened[:] = [packs]
    PromptServer.instance = packs.server
    module = sys.modules["nodes"]
    for name in LIVE:
        setattr(module, name, {})


def close() -> None:
    """Let imports find no worker any more."""
    _opened.clear()
    for name in LIVE:
        vars(sys.modules["nodes"]).pop(name, None)


def services() -> Services:
    """The worker's services; RuntimeError where no packs are loaded."""
    return _current().services


def ambient() -> Services | None:
    """The services for code that packs call from threads and routes; None where no packs are loaded.

    In a thread they are those of the running prompt, which may have an owner; routes belong to no prompt.
    """
    if not _opened:
        return None
    line = _opened[0].services.line
    own = None if line is None else line.services
    return _opened[0].services if own is None or line is None or line.on_loop() else own


def folders() -> Folders:
    """The folders of the running call, or of the running prompt in a thread; RuntimeError where no packs are loaded."""
    here = cast("Services | None", context.current().services)
    return (here or ambient() or services()).folders


def running() -> RunContext:
    """The running call; in a thread, which has none of its own, that of the node that began last."""
    here = context.current()
    line = _opened[0].services.line if _opened and not here.node_id else None
    return here if line is None else line.last_call()


def asking() -> str | None:
    """The name of the pack whose code is running or being imported."""
    row = _current().reports.asking() if _opened else None
    return row.pack.name if row else None


def asked(name: str) -> str | None:
    """Note that a pack asked for a name that Weft does not have; the pack's name the first time, else None."""
    row = _current().reports.asking() if _opened else None
    return row.pack.name if row and row.miss(name) else None


def live(name: str) -> dict[str, object]:
    """One of the dicts on the module `nodes`, as it stands; empty if a pack put something else there."""
    value = getattr(sys.modules["nodes"], name, None)
    return value if isinstance(value, dict) else {}


def node_name(name: str) -> object:
    """What `nodes.<name>` is inside packs; AttributeError, noted, for what Weft does not have."""
    if not _opened:
        raise AttributeError(f"module 'nodes' has no attribute {name!r}")
    registry = _current().registry
    if name == "__all__" and registry is not None:
        return [*NODE_NAMES, *LIVE, *(known for known, told in registry.definitions.items() if told.pack == "nodes")]
    if name in NODE_NAMES:
        return NODE_NAMES[name]
    if registry is not None and (found := registry.builtin(name)) is not None:
        return found
    return _module(name) or _refuse("nodes", name)


def server_name(name: str) -> object:
    """What `server.<name>` is inside packs; AttributeError, noted, for what Weft does not have."""
    if not _opened:
        raise AttributeError(f"module 'server' has no attribute {name!r}")
    if name in ("PromptServer", "BinaryEventTypes"):
        return getattr(import_module("nodes.prompt_server"), name)
    return _module(name) or _refuse("server", name)


def _current() -> Opened:
    if not _opened:
        raise RuntimeError("no packs are loaded in this process")
    return _opened[0]


MODULES = {"web": "aiohttp.web", "np": "numpy", "Image": "PIL.Image", "ImageOps": "PIL.ImageOps"} | {
    name: name
    for name in (
        *("asyncio", "uuid", "urllib", "json", "ssl", "struct", "aiohttp", "logging", "os", "sys", "time", "math"),
        *("traceback", "hashlib", "random", "copy", "torch", "comfy", "folder_paths", "node_helpers", "nodes"),
        *("execution", "latent_preview", "comfyui_version"),
    )
}
"""Modules that packs reach through `nodes` and `server`."""


def _module(name: str) -> object:
    return import_module(MODULES[name]) if name in MODULES else None


def _refuse(module: str, name: str) -> object:
    if not name.startswith("__") and find_spec(f"{module}.{name}") is None:  # a module of ours is about to be imported
        asked(f"{module}.{name}")
    raise AttributeError(f"module {module!r} of Weft has no attribute {name!r}")


# ---------------------------------------------------------------- functions of `nodes`


def common_ksampler(
    model: object,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: object,
    negative: object,
    latent: Mapping[str, object],
    denoise: float = 1.0,
    disable_noise: bool = False,
    start_step: int | None = None,
    last_step: int | None = None,
    force_full_denoise: bool = False,
) -> tuple[dict[str, object]]:
    """The latent dict that a KSampler makes of `latent`; errors as in executor.inference.sample."""
    sample: Callable[..., object] = import_module("executor.inference.sample").sample
    samples = sample(
        model,
        latent,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler_name,
        scheduler=scheduler,
        positive=positive,
        negative=negative,
        denoise=denoise,
        disable_noise=disable_noise,
        start_step=start_step,
        last_step=last_step,
        force_full_denoise=force_full_denoise,
    )
    return ({**latent, "samples": samples},)


def before_node_execution() -> None:
    """Raise Interrupted if the user stopped the running prompt."""
    line = _current().services.line
    if line is not None and line.flag is not None:
        line.flag.check()


def interrupt_processing(value: bool = True) -> None:
    """Let the running prompt end at its next checkpoint."""
    line = _current().services.line
    if value and line is not None:
        line.interrupt()


NODE_NAMES: Mapping[str, object] = {
    "MAX_RESOLUTION": MAX_RESOLUTION,
    "common_ksampler": common_ksampler,
    "before_node_execution": before_node_execution,
    "interrupt_processing": interrupt_processing,
}
"""What `nodes` has beside node classes."""
