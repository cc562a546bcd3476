"""Which worker has what a job needs: the files of its models, and results of its nodes. Knows no worker's memory.

It is a guess by what each worker ran last: a worker that ran a job with the same model most likely still holds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from executor.contract.definition import FileChoices, NodeDef
from executor.graph.dynamic import DynamicPrompt
from executor.graph.signature import Key, Signatures
from executor.queue.job import Job

MOST_FILES = 16  # that a worker is taken to hold
LIGHT = frozenset({"loras", "embeddings", "hypernetworks", "vae_approx"})
"""Kinds whose files are soon read again."""
LIGHT_WEIGHT = 0.1
NOTED_PROMPTS = 256
LARGE_BYTES = 1 << 20  # of a prompt; reading a larger one for what it needs would hold up everything else

File = tuple[str, str]
"""A kind of model and a name in it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job needs: files of models, and its nodes by the keys of their results."""

    files: frozenset[File] = frozenset()
    nodes: frozenset[Key] = frozenset()


@dataclass(slots=True)
class Held:
    """What a worker is taken to hold: files, by the number of the job that used them last, and its last job's nodes."""

    jobs: int = 0
    files: dict[File, int] = field(default_factory=dict)
    nodes: frozenset[Key] = frozenset()


class Warmth:
    """What the workers of one front hold; `definitions` tells the node classes that are known."""

    def __init__(self, definitions: Callable[[], Mapping[str, NodeDef]]) -> None:
        self._definitions = definitions
        self._held: dict[str, Held] = {}
        self._needs: dict[bytes, Needs] = {}  # by prompt: a job has no row of its own before it is stored

    def of(self, worker: str, job: Job) -> tuple[float, int]:
        """How much of what a job needs a worker has: files, those used last counting most, then nodes."""
        held, needs = self._held.get(worker), self.needs(job)
        if held is None:
            return 0.0, 0
        known = [file for file in needs.files if file in held.files]
        files = sum((LIGHT_WEIGHT if kind in LIGHT else 1.0) / (1 + held.jobs - held.files[kind, name])
                    for kind, name in known)  # fmt: skip
        return files, len(needs.nodes & held.nodes)

    def models(self, worker: str, job: Job) -> float:
        """How much of a job's models a worker has, but for what is soon read again: 1 for each of its last job."""
        held = self._held.get(worker)
        if held is None:
            return 0.0
        heavy = (file for file in self.needs(job).files if file[0] not in LIGHT and file in held.files)
        return sum(1.0 / (1 + held.jobs - held.files[file]) for file in heavy)

    def began(self, worker: str, job: Job) -> None:
        """A worker runs a job: from here on it holds what that needs."""
        held, needs = self._held.setdefault(worker, Held()), self.needs(job)
        held.jobs += 1
        for file in needs.files:
            held.files.pop(file, None)
            held.files[file] = held.jobs
        while len(held.files) > MOST_FILES:
            del held.files[next(iter(held.files))]
        held.nodes = needs.nodes
        self._needs.pop(job.prompt_json, None)

    def lost(self, worker: str) -> None:
        """A worker's process is gone, and with it what it held."""
        self._held.pop(worker, None)

    def freed(self) -> None:
        """All workers were told to let go of their models and results."""
        self._held.clear()

    def needs(self, job: Job) -> Needs:
        """What a job needs, read from its prompt once."""
        needs = self._needs.get(job.prompt_json)
        if needs is None:
            if len(self._needs) >= NOTED_PROMPTS:
                self._needs.clear()
            needs = self._needs[job.prompt_json] = needs_of(job, self._definitions())
        return needs


def needs_of(job: Job, definitions: Mapping[str, NodeDef]) -> Needs:
    """What the prompt of a job needs; nothing where it is very large."""
    if len(job.prompt_json) > LARGE_BYTES:
        return Needs()
    graph = DynamicPrompt(json.loads(job.prompt_json))
    signatures = Signatures(graph, definitions.get)
    signatures.add(graph.original_prompt, {})
    files: set[File] = set()
    for node_id in graph.original_prompt:
        definition = definitions.get(graph.class_type(node_id))
        inputs = graph.inputs(node_id)
        for item in definition.inputs if definition is not None else ():
            value = inputs.get(item.name)
            if isinstance(item.choices, FileChoices) and item.choices.source != "input" and isinstance(value, str):
                files.add((item.choices.source, value))
    return Needs(frozenset(files), frozenset(signatures[node_id] for node_id in graph.original_prompt))
