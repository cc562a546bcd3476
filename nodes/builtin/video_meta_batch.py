"""The node VHS_BatchManager of VideoHelperSuite: a video made in batches, with a prompt of its own for each.

Behaviour: reference/vhs_video_combine.md, meta_batch. The prompt of a batch puts the next one at the front of the
queue; the number of the batch and the name of the series stand in the manager's own inputs, so that nothing but the
frames, which lie in the temp folder, has to outlive a prompt.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4, uuid5

from executor.errors import NodeInputError
from nodes.builtin.inputs import AnyInput, InputTypes, integer
from nodes.builtin.services import services
from nodes.builtin.video_formats import CATEGORY, PACK

NAME = "VHS_BatchManager"
MOST_FRAMES = 2**53 - 1
NUMBER, SERIES = "requeue", "series"
"""The inputs that a requeued prompt adds to the manager's own."""
FRONT = float(-(2**31))  # before all that waits


@dataclass(kw_only=True)
class MetaBatch:
    """One batch of a series: which frames loaders give, and whether more will follow."""

    frames: int
    number: int
    series: str
    goes_on: bool = False  # told by the loaders
    is_requeued: bool = False

    @property
    def begin(self) -> int:
        """How many frames came in the batches before."""
        return self.frames * self.number

    def more(self, follow: bool) -> None:
        """Take in whether a loader has frames for another batch."""
        self.goes_on = self.goes_on or follow

    def folder(self, node_id: object) -> Path:
        """Where the frames of the series wait for the last batch, for one node that takes them in."""
        return services().folders.root("temp") / f"{self.series}_{re.sub(r'[^A-Za-z0-9]', '-', str(node_id))}"

    def requeue(self) -> None:
        """Put the prompt of the next batch at the front of the queue, once; NodeInputError outside a server."""
        if self.is_requeued:
            return
        line = getattr(services(), "line", None)
        run = getattr(line, "run", None)
        if line is None or run is None:
            raise NodeInputError("input 'meta_batch': batches over several prompts need a server with a queue")
        following = str(uuid5(UUID(run.job_id), NAME) if _is_uuid(run.job_id) else uuid5(UUID(int=0), run.job_id))
        prompt = _next(json.loads(run.prompt_json), self)
        extra, hidden = json.loads(run.extra_json), json.loads(run.secrets_json)
        line.request("enqueue", [FRONT, following, prompt, extra, list(run.targets), hidden])
        self.is_requeued = True


class VHS_BatchManager:  # noqa: N801  # the name that workflows have
    """Says how many frames of a long video are worked on at a time."""

    PACK = PACK
    DISPLAY_NAME = "Meta Batch Manager 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = (NAME,)
    RETURN_NAMES = ("meta_batch",)
    FUNCTION = "update_batch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed; a requeued prompt adds which batch of which series it is."""
        return {
            "required": {"frames_per_batch": integer(16, 1, MOST_FRAMES, step=1)},
            "hidden": AnyInput(prompt="PROMPT", unique_id="UNIQUE_ID"),
        }

    def update_batch(
        self, frames_per_batch: int, requeue: int = 0, series: str = "", **_others: object
    ) -> tuple[MetaBatch]:
        """The batch; NodeInputError for a number of frames or of the batch that cannot be."""
        if frames_per_batch < 1 or requeue < 0:
            raise NodeInputError("input 'frames_per_batch': a batch has at least one frame")
        name = series if requeue and re.fullmatch(r"vhs_batch_[0-9a-f]{32}", series) else f"vhs_batch_{uuid4().hex}"
        return (MetaBatch(frames=frames_per_batch, number=requeue, series=name),)

    @classmethod
    def IS_CHANGED(cls, **_inputs: object) -> float:
        """Never equal: the result of one series is of no use to another."""
        return math.nan


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def without_batch(prompt: object) -> object:
    """A prompt as it was submitted, without what requeueing added."""
    if not isinstance(prompt, Mapping):
        return prompt
    return {node_id: _changed(node, {}) for node_id, node in prompt.items()}


def _next(prompt: Mapping[str, Any], batch: MetaBatch) -> dict[str, object]:
    added: dict[str, object] = {NUMBER: batch.number + 1, SERIES: batch.series}
    return {node_id: _changed(node, added) for node_id, node in prompt.items()}


def _changed(node: object, added: Mapping[str, object]) -> object:
    """A node of a prompt; a manager with other inputs of its series."""
    if not isinstance(node, Mapping) or node.get("class_type") != NAME:
        return node
    inputs = cast("Mapping[str, object]", node.get("inputs") or {})
    kept = {name: value for name, value in inputs.items() if name not in (NUMBER, SERIES)}
    return {**node, "inputs": {**kept, **added}}


NODES = (VHS_BatchManager,)
