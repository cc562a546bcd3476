"""`comfy_execution.progress`: how far the nodes of a prompt are, and handlers that packs put there to hear of it.

The keeping is Weft's (executor.graph.progress). Handlers put there while a prompt runs go with it; those put there
before hear of every prompt.
"""

from __future__ import annotations

import enum
import logging
from typing import TypedDict

from comfy_api.latest._api import Shown

from executor.context import Preview
from executor.errors import Interrupted
from executor.graph.dynamic import DynamicPrompt
from executor.graph.progress import Progress
from nodes import bridge, placeholders

__getattr__ = placeholders.fallback(__name__)

log = logging.getLogger("weft.packs")

PREVIEW_PX = 512  # the longest side of pictures that handlers are told to show
Picture = tuple[str, object, int | None]
"""Format, PIL picture, longest side in pixels or None for the natural size."""


class NodeState(enum.Enum):
    """What a node is at."""

    Pending = "pending"
    Running = "running"
    Finished = "finished"
    Error = "error"


class NodeProgressState(TypedDict):
    """How far a node is."""

    state: NodeState
    value: float
    max: float


class ProgressHandler:
    """Hears of every node's progress; packs write subclasses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = True
        self.registry: ProgressRegistry | None = None

    def set_registry(self, registry: ProgressRegistry) -> None:
        """Told whose progress it hears of."""
        self.registry = registry

    def start_handler(self, node_id: str, state: NodeProgressState, prompt_id: str) -> None:
        """A node begins."""

    def update_handler(
        self, node_id: str, value: float, max_value: float, state: NodeProgressState, prompt_id: str,
        image: Picture | None = None,
    ) -> None:  # fmt: skip
        """A node is so far."""

    def finish_handler(self, node_id: str, state: NodeProgressState, prompt_id: str) -> None:
        """A node has its result."""

    def reset(self) -> None:
        """The prompt is over."""

    def enable(self) -> None:
        """Hear from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Hear nothing from now on."""
        self.enabled = False


class CLIProgressHandler(ProgressHandler):
    """The progress on the terminal, which Weft shows by itself."""

    def __init__(self) -> None:
        super().__init__("cli")


class WebUIProgressHandler(ProgressHandler):
    """The progress that clients hear of, which Weft tells by itself."""

    def __init__(self, server_instance: object = None) -> None:
        super().__init__("webui")
        self.server_instance = server_instance


class ProgressRegistry:
    """The progress of one prompt's nodes, and who hears of it."""

    def __init__(self, prompt_id: str, dynprompt: DynamicPrompt) -> None:
        self.prompt_id, self.dynprompt = prompt_id, dynprompt
        self.nodes: dict[str, NodeProgressState] = {}
        self.handlers: dict[str, ProgressHandler] = {}

    def register_handler(self, handler: ProgressHandler) -> None:
        """Let a handler hear; it takes the place of one of its name."""
        self.handlers[handler.name] = handler
        handler.set_registry(self)

    def unregister_handler(self, handler_name: str) -> None:
        """Let a handler hear nothing any more."""
        self.handlers.pop(handler_name, None)

    def enable_handler(self, handler_name: str) -> None:
        """Let a handler hear again."""
        if handler_name in self.handlers:
            self.handlers[handler_name].enable()

    def disable_handler(self, handler_name: str) -> None:
        """Let a handler hear nothing for a while."""
        if handler_name in self.handlers:
            self.handlers[handler_name].disable()

    def ensure_entry(self, node_id: str) -> NodeProgressState:
        """A node's state, a pending one where it has none."""
        return self.nodes.setdefault(node_id, {"state": NodeState.Pending, "value": 0.0, "max": 1.0})

    def start_progress(self, node_id: str) -> None:
        """Tell that a node has begun."""
        entry = self.ensure_entry(node_id)
        entry.update(state=NodeState.Running, value=0.0, max=1.0)
        self._tell("start_handler", node_id, entry, self.prompt_id)

    def update_progress(self, node_id: str, value: float, max_value: float, image: Picture | None = None) -> None:
        """Tell how far a node is."""
        entry = self.ensure_entry(node_id)
        entry.update(state=NodeState.Running, value=value, max=max_value)
        self._tell("update_handler", node_id, value, max_value, entry, self.prompt_id, image)

    def finish_progress(self, node_id: str) -> None:
        """Tell that a node is through its steps."""
        entry = self.ensure_entry(node_id)
        entry.update(state=NodeState.Finished, value=entry["max"])
        self._tell("finish_handler", node_id, entry, self.prompt_id)

    def reset_handlers(self) -> None:
        """Tell every handler that the prompt is over."""
        self._tell("reset")

    def hears_pictures(self) -> bool:
        """Whether a picture would reach anybody."""
        return any(handler.enabled for handler in self.handlers.values())

    def _tell(self, method: str, *told: object) -> None:
        """What a handler raises is logged and ends nothing, but for Interrupted at a step, which ends the prompt."""
        for handler in list(self.handlers.values()):
            if not handler.enabled and method != "reset":
                continue
            try:
                getattr(handler, method)(*told)
            except Interrupted:
                if method == "update_handler":
                    raise
            except Exception:  # border: the code of a pack may raise anything
                log.exception("the progress handler %r of a pack failed at %s", handler.name, method)


class RunningProgress(ProgressRegistry):
    """The registry of a prompt that runs: what is told to it goes to the clients too, and to handlers."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress.job_id, progress.graph)
        self._progress = progress
        for node_id, state in progress.states().items():
            self.nodes[node_id] = {"state": NodeState(state.state), "value": state.value, "max": state.total}

    def start_progress(self, node_id: str) -> None:
        """Tell that a node has begun."""
        self._progress.started(node_id)

    def update_progress(self, node_id: str, value: float, max_value: float, image: Picture | None = None) -> None:
        """Tell how far a node is; `image` is a picture, or (format, picture, longest side)."""
        picture = image[1] if isinstance(image, tuple) else image
        whole = isinstance(image, tuple) and len(image) > 2 and image[2] is None
        self._progress.set(node_id, value, max_value, None if picture is None else Shown(picture, whole=whole))

    def finish_progress(self, node_id: str) -> None:
        """Tell that a node is through its steps."""
        self._progress.finished(node_id)


class HandlersFollow:
    """Lets a registry's handlers hear of a running prompt."""

    def __init__(self, registry: ProgressRegistry) -> None:
        self.registry = registry

    def started(self, node_id: str) -> None:
        """A node begins."""
        ProgressRegistry.start_progress(self.registry, node_id)

    def stepped(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """A node is so far."""
        picture = None
        if preview is not None and self.registry.hears_pictures():
            picture = ("JPEG", preview.image(), None if getattr(preview, "whole", False) else PREVIEW_PX)
        ProgressRegistry.update_progress(self.registry, node_id, value, total, picture)

    def finished(self, node_id: str, total: float) -> None:
        """A node has its result."""
        self.registry.ensure_entry(node_id)["max"] = total
        ProgressRegistry.finish_progress(self.registry, node_id)

    def ended(self) -> None:
        """The prompt is over."""
        self.registry.reset_handlers()


class Standing(ProgressRegistry):
    """The registry between prompts: handlers put there hear of every prompt that begins from then on."""

    def __init__(self) -> None:
        super().__init__("", DynamicPrompt({}))

    def __call__(self, progress: Progress) -> HandlersFollow:
        """A prompt begins: what lets the handlers hear of it."""
        registry = RunningProgress(progress)
        for handler in self.handlers.values():
            registry.register_handler(handler)
        return HandlersFollow(registry)


def get_progress_state() -> ProgressRegistry:
    """The registry of the prompt that runs; between prompts the one whose handlers hear of all."""
    sink = bridge.running().sink
    if not isinstance(sink, Progress):
        return _standing()
    own = next((follower for follower in sink.followers if isinstance(follower, HandlersFollow)), None)
    if own is None:
        own = HandlersFollow(RunningProgress(sink))
        sink.followers.append(own)
    return own.registry


def _standing() -> ProgressRegistry:
    line = bridge.services().line
    if line is None:
        return Standing()
    for follower in line.followers:
        if isinstance(follower, Standing):
            return follower
    line.followers.append(made := Standing())
    return made


def add_progress_handler(handler: ProgressHandler) -> None:
    """Let a handler hear of the prompt that runs; between prompts, of every one from the next on."""
    get_progress_state().register_handler(handler)


def reset_progress_state(prompt_id: str, dynprompt: DynamicPrompt) -> None:
    """Tell every handler that its prompt is over; the next prompt's registry is made by Weft."""
    get_progress_state().reset_handlers()
