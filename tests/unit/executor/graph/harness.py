"""Fake nodes and a recorder: what the tests of the graph engine run prompts with."""

import asyncio
import json
from collections.abc import Mapping

from executor.context import InterruptFlag
from executor.contract.definition import NodeDef
from executor.contract.describe import describe
from executor.errors import UnknownName
from executor.graph.cache import Cache, ClassicCache
from executor.graph.run import RunResult, run_prompt
from executor.messages import Run


class Table:
    """A registry of the given classes, each under its own name."""

    def __init__(self, *classes: type) -> None:
        self.classes = {cls.__name__: cls for cls in classes}
        self.definitions: Mapping[str, NodeDef] = {name: describe(name, cls) for name, cls in self.classes.items()}

    def get(self, name: str) -> tuple[NodeDef, type]:
        if name not in self.classes:
            raise UnknownName("node class", name, self.classes)
        return self.definitions[name], self.classes[name]


class Recorder:
    """Keeps every event: (event, data) with previews and texts among them, and the audiences beside."""

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []
        self.audiences: dict[str, str] = {}

    def emit(self, event, data, audience) -> None:
        self.log.append((event, json.loads(json.dumps(data))))
        self.audiences[event] = audience

    def emit_json(self, event, text, audience) -> None:
        self.emit(event, json.loads(text), audience)

    def preview(self, node_id, preview, metadata, step=None) -> None:
        if step is not None:
            self.emit("progress", step, "owner_or_all")
        self.log.append(("preview", dict(metadata)))

    def follow(self, sink) -> None:
        self.sink = sink

    def text(self, node_id, message) -> None:
        self.log.append(("text", (node_id, message)))

    def named(self, event: str) -> list:
        return [data for name, data in self.log if name == event]

    def order(self, *events: str) -> list[tuple[str, object]]:
        """Events and their node, in order, of these kinds."""
        return [(name, data.get("node")) for name, data in self.log if name in events]

    @property
    def executing(self) -> list[str]:
        return [data["node"] for data in self.named("executing")]


class Bench:
    """One worker's worth of engine: a registry and a cache that live over several prompts."""

    def __init__(self, *classes: type, cache: Cache | None = None) -> None:
        self.table = Table(*classes)
        self.cache: Cache = cache or ClassicCache()
        self.recorder: type[Recorder] = Recorder
        self.events = Recorder()
        self.services = object()

    async def start(self, prompt, targets=None, *, interrupt=None, extra=None, secrets=None, **more) -> RunResult:
        """Run a prompt; `targets` defaults to every output node in it."""
        if targets is None:
            outputs = {name for name, item in self.table.definitions.items() if item.is_output}
            targets = [node_id for node_id, node in prompt.items() if node["class_type"] in outputs]
        self.events = self.recorder()
        job = Run(
            job_id="job",
            prompt_json=json.dumps(prompt).encode(),
            targets=tuple(targets),
            extra_json=json.dumps(extra or {}).encode(),
            secrets_json=json.dumps(secrets or {}).encode(),
        )
        return await run_prompt(
            job=job,
            registry=self.table,
            cache=self.cache,
            events=self.events,
            services=self.services,
            interrupt=interrupt or InterruptFlag(),
            **more,
        )

    def run(self, prompt, targets=None, **more) -> RunResult:
        """The same, from a test without a loop."""
        return asyncio.run(self.start(prompt, targets, **more))


def node(class_type: str, **inputs: object) -> dict[str, object]:
    """A node of a prompt; a link is written as a tuple (node, slot)."""
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in inputs.items()}
    return {"class_type": class_type, "inputs": given}


def node_class(name: str, function, inputs=None, *, output=False, returns=("*",), base=(), **attributes) -> type:
    """A V1 class made of a function; `inputs` maps names to entries, "?name" to optional, "#name" to hidden ones."""
    sections: dict[str, dict[str, object]] = {"required": {}, "optional": {}, "hidden": {}}
    for key, entry in (inputs or {}).items():
        section = {"?": "optional", "#": "hidden"}.get(key[0], "required")
        sections[section][key.lstrip("?#")] = entry
    body = {
        "INPUT_TYPES": classmethod(lambda cls: {key: value for key, value in sections.items() if value}),
        "RETURN_TYPES": returns,
        "FUNCTION": "run",
        "OUTPUT_NODE": output,
        "run": function,
        **attributes,
    }
    return type(name, base, body)


def text_node(name: str = "Show", calls: list | None = None) -> type:
    """An output node that shows its input's text."""

    def run(self, value=None):
        if calls is not None:
            calls.append(value)
        return {"ui": {"text": [str(value)]}}

    return node_class(name, run, {"?value": ("*",)}, output=True, returns=())


def shown(result: RunResult) -> dict[str, object]:
    """The texts that a result holds, by node."""
    return {node_id: ui["text"] for node_id, ui in result.outputs.items()}
