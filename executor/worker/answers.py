"""Questions that only the worker can answer: what a class is now, whether its own check agrees, prompt hooks.

Bodies and answers are JSON. describe: [class names] -> {"definitions": [NodeDef], "wire": {name: entry}};
validate: one request of graph.validate -> its answer; prompt_hook: the body of POST /prompt -> the body to use.
"""

from __future__ import annotations

import json

import msgspec

from executor.context import RunContext, entered
from executor.contract.registry import Registry
from executor.contract.v1 import describe
from executor.contract.wire import template
from executor.errors import BadInput
from executor.graph.checks import answer as check
from executor.messages import Ask


async def answer(registry: Registry, services: object, question: Ask) -> bytes:
    """The JSON text that answers a question; BadInput for one that cannot be answered."""
    match question.question:
        case "describe":
            return _describe(registry, msgspec.json.decode(question.body_json, type=list[str]))
        case "validate":
            with entered(RunContext(services=services)):
                return json.dumps(await check(registry, json.loads(question.body_json))).encode()
        case "prompt_hook":
            return question.body_json  # packs register hooks; without packs there are none
    raise BadInput(f"there is no question {question.question!r}")


def _describe(registry: Registry, names: list[str]) -> bytes:
    """Fresh definitions and listings: INPUT_TYPES is called anew."""
    definitions, wire = [], {}
    for name in names:
        known, cls = registry.get(name)
        fresh = describe(name, cls, display_name=known.display_name, pack=known.pack)
        definitions.append(fresh)
        wire[name] = template(fresh, cls)
    return msgspec.json.encode({"definitions": definitions, "wire": msgspec.Raw(json.dumps(wire).encode())})
