"""Questions that only the worker can answer: what a class is now, whether its own check agrees, prompt hooks.

Bodies and answers are JSON. describe: [class names], a messages.Seen, or null for pack classes that changed since told
-> {"definitions": [NodeDef], "wire": {name: entry}}, without an entry for a class that cannot be listed;
validate: one request of graph.validate, with the prompt's owner -> its answer;
prompt_hook: the body of POST /prompt -> the body to use.
"""

from __future__ import annotations

import asyncio
import json

import msgspec

from executor.context import RunContext, entered
from executor.contract.definition import NodeDef
from executor.contract.describe import describe
from executor.contract.registry import Registry
from executor.contract.wire import template
from executor.errors import BadInput
from executor.graph.checks import answer as check
from executor.messages import Ask, Seen
from executor.short_paths import ShortPaths
from executor.worker.services import Services

DESCRIBE_S = 1.0  # for asking every pack class whether it is listed otherwise


async def answer(registry: Registry, services: Services, question: Ask) -> bytes:
    """The JSON text that answers a question; BadInput for one that cannot be answered."""
    match question.question:
        case "describe":
            names = msgspec.json.decode(question.body_json, type=list[str] | Seen | None)
            # INPUT_TYPES of packs may read folders or ask the net: not on the loop that hears the front.
            return await asyncio.to_thread(_describe, registry, services, names)
        case "validate":
            return await _checked(registry, services, json.loads(question.body_json))
        case "prompt_hook":
            if services.packs is None:
                return question.body_json
            return json.dumps(await _hooked(services, json.loads(question.body_json))).encode()
    raise BadInput(f"there is no question {question.question!r}")


async def _checked(registry: Registry, services: Services, request: dict[str, object]) -> bytes:
    """What a class's own check says, which runs where the packs' checks do."""
    own = services.of(str(request.get("owner", "")))

    async def checked() -> dict[str, object]:
        with entered(RunContext(services=own)):
            return await check(registry, request)

    told = await (checked() if services.line is None else services.line.checks.run(checked))
    return json.dumps(ShortPaths(own.settings, own.folders).value(told) if "exception" in told else told).encode()


async def _hooked(services: Services, body: dict[str, object]) -> object:
    """A body after the packs' hooks, which run where their routes do."""
    packs, line = services.packs, services.line
    assert packs is not None, "asked only where there are packs"
    if line is None:
        return packs.hook(body)

    async def hooked() -> object:
        return packs.hook(body)

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(hooked(), line.loop))


def _describe(registry: Registry, services: Services, names: list[str] | Seen | None) -> bytes:
    """Fresh definitions and listings: INPUT_TYPES is called anew."""
    if isinstance(names, Seen):
        if services.packs is None:
            return _described([], {})
        seen = services.packs.seen(names.owner, names.names, differing=names.differing, limit_s=DESCRIBE_S)
        return _described(*seen)
    if services.packs is not None:
        if names is not None:
            return _described(*services.packs.describe(names))
        with services.telling:  # what the main thread found is told first
            return _described(*services.packs.changed(DESCRIBE_S, lambda: False))
    definitions, wire = [], {}
    with entered(RunContext(services=services)):  # some lists are of what lies in folders
        for name in names or ():
            known, cls = registry.get(name)
            fresh = describe(name, cls, display_name=known.display_name, pack=known.pack)
            definitions.append(fresh)
            wire[name] = template(fresh, cls)
    return _described(definitions, wire)


def _described(definitions: list[NodeDef], wire: dict[str, dict[str, object]]) -> bytes:
    return msgspec.json.encode({"definitions": definitions, "wire": msgspec.Raw(json.dumps(wire).encode())})
