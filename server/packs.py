"""What the packs of one worker brought beside nodes: web folders, routes, hooks, their report. Knows no HTTP.

Every worker loads the same packs; the first one hosts what they serve and keep themselves. What it told in the last
run stands in until it is ready again, but never its address and its hooks: they are of a process that is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from executor.contract.definition import NodeDef
from executor.messages import Packs
from executor.queue.job import Job

PACK_MODULES = "custom_nodes"
"""How the module that is listed for a pack's node begins."""
BROUGHT_ALONG = frozenset({"custom_nodes.websocket_image_save"})
"""Modules that say they are a pack's and are ours: ComfyUI brings SaveImageWebsocket as one."""
STOOD_IN_FOR = frozenset({"custom_nodes.ComfyUI-VideoHelperSuite"})
"""Modules of packs whose nodes are ours as long as the pack itself is not there."""

NOTED_JOBS = 10_000


class PackHost:
    """The packs as their host told them last."""

    def __init__(self) -> None:
        self.told = Packs()
        self.is_live = False  # told by the process that runs now
        self.had_routes: bool | None = None  # did its last process have any; None: none of this run has told
        self._came = asyncio.Event()
        self._tied: dict[int, bool] = {}  # by row of the queue

    def remember(self, packs: Packs) -> None:
        """Take what stood in the snapshot of the last run."""
        self.told = at_rest(packs)

    def take(self, packs: Packs) -> None:
        """Take what the host says now."""
        self.told, self.is_live, self.had_routes = packs, True, bool(packs.address)
        self._tied.clear()
        self._came.set()

    def lose(self) -> None:
        """The host's process is gone."""
        self.told, self.is_live = at_rest(self.told), False
        self._came.clear()

    async def arrived(self, wait_s: float) -> bool:
        """Wait for the host's word, for a time; tells whether it is there."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), wait_s)
        return self.is_live

    def is_tied(self, job: Job, definitions: Mapping[str, NodeDef]) -> bool:
        """Tell whether a job has a node of a pack with routes: node and route may share what is in memory."""
        if job.row not in self._tied or job.row == 0:  # without a row yet it is like no other
            if len(self._tied) >= NOTED_JOBS:
                self._tied.clear()
            modules = routed_modules(self.told.report_json)
            self._tied[job.row] = bool(modules) and not modules.isdisjoint(_modules(job, definitions))
        return self._tied[job.row]


def at_rest(packs: Packs) -> Packs:
    """What of the packs' word holds without their process."""
    return msgspec.structs.replace(packs, address="", hooks=False)


def routed_modules(report_json: bytes) -> frozenset[str]:
    """The modules, as listed at their nodes, of the packs that have routes of their own."""
    return frozenset(str(pack.get("module")) for pack in _reported(report_json) if pack.get("routes"))


def any_of_packs(definitions: Iterable[NodeDef], report_json: bytes) -> bool:
    """Tell whether some node came with a pack that is there, so that its inputs may change between prompts."""
    ours = STOOD_IN_FOR - {str(pack.get("module")) for pack in _reported(report_json)}
    return any(is_of_a_pack(definition) and definition.pack not in ours for definition in definitions)


def _reported(report_json: bytes) -> list[dict[str, object]]:
    report: object = json.loads(report_json)
    return [pack for pack in report if isinstance(pack, dict)] if isinstance(report, list) else []


def is_of_a_pack(definition: NodeDef) -> bool:
    """Tell whether a node came with a pack."""
    return definition.pack.startswith(PACK_MODULES) and definition.pack not in BROUGHT_ALONG


def _modules(job: Job, definitions: Mapping[str, NodeDef]) -> set[str]:
    graph: dict[str, dict[str, object]] = json.loads(job.prompt_json)
    classes = {str(node.get("class_type")) for node in graph.values()}
    return {definitions[name].pack for name in classes if name in definitions}
