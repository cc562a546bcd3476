"""Nodes whose ways meet: lazy inputs, expansion, lists, blockers, coroutines and caches."""

import asyncio

from comfy_api.latest import ComfyAPI
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder
from comfy_execution.utils import get_executing_context


class AnyType(str):
    def __ne__(self, other):
        return False


ANY = AnyType("*")
MAPPINGS = {}
arrived = {}


def node(required, *, outputs=(ANY,), optional=None, hidden=None, **attributes):
    """Makes a node class of one with `run`."""

    def made(cls):
        inputs = {"required": required, "optional": optional or {}, "hidden": hidden or {}}
        cls.INPUT_TYPES = classmethod(lambda cls: inputs)
        cls.RETURN_TYPES, cls.FUNCTION, cls.CATEGORY = outputs, "run", "interplay"
        for name, value in attributes.items():
            setattr(cls, name, value)
        MAPPINGS[f"Interplay {cls.__name__}"] = cls
        return cls

    return made


@node({"value": (ANY,)})
class Same:
    def run(self, value):
        return (value,)


@node({"value": (ANY,)}, OUTPUT_NODE=True, INPUT_IS_LIST=True)
class Show:
    def run(self, value):
        return {"ui": {"shown": [str(item) for item in value]}, "result": (value,)}


@node({"first": ("BOOLEAN",), "a": (ANY, {"lazy": True}), "b": (ANY, {"lazy": True})})
class Choose:
    async def check_lazy_status(self, first, a=None, b=None):
        await asyncio.sleep(0)
        wanted, there = ("a", a) if first else ("b", b)
        return [wanted] if there is None else []

    async def run(self, first, a=None, b=None):
        return (a if first else b,)


@node({"number": ("INT",)})
class AddOne:
    def run(self, number):
        return (number + 1,)


@node({"start": ("INT", {"rawLink": True}), "count": ("INT",)})
class Chain:
    """Expands to a chain of `count` nodes."""

    def run(self, start, count):
        graph = GraphBuilder()
        last = start
        for _ in range(count):
            last = graph.node("Interplay AddOne", number=last).out(0)
        return {"result": (last,), "expand": graph.finalize()}


@node({"number": ("INT",), "left": ("INT",)})
class Loop:
    def run(self, number, left):
        if not left:
            return (number,)
        graph = GraphBuilder()
        added = graph.node("Interplay AddOne", number=number)
        rest = graph.node("Interplay Loop", number=added.out(0), left=left - 1)
        return {"result": (rest.out(0),), "expand": graph.finalize()}


@node({"count": ("INT",)}, OUTPUT_IS_LIST=(True,))
class Count:
    def run(self, count):
        return (list(range(count)),)


@node({"number": ("INT",)}, outputs=(ANY, ANY, ANY))
class Mixed:
    """Blocks odd numbers, expands for even ones, and brings a plain value each time."""

    def run(self, number):
        if number % 2:
            return (ExecutionBlocker(f"{number} is odd"), ExecutionBlocker(None), number)
        graph = GraphBuilder()
        added = graph.node("Interplay AddOne", number=number)
        return {"result": (added.out(0), number, number), "expand": graph.finalize()}


@node({"value": (ANY,), "key": ("STRING",), "parties": ("INT",)})
class Meet:
    """Waits until so many have come; alone it waits for ever."""

    async def run(self, value, key, parties):
        here = get_executing_context()
        event = arrived.setdefault(key, [0, asyncio.Event()])
        event[0] += 1
        await ComfyAPI().execution.set_progress(1, 2)
        if event[0] >= parties:
            event[1].set()
        await event[1].wait()
        assert get_executing_context() == here
        return (value,)


@node({"value": (ANY,), "key": ("STRING",), "parties": ("INT",)})
class MeetInside:
    """Expands to coroutines that wait for each other."""

    async def run(self, value, key, parties):
        graph = GraphBuilder()
        met = [
            graph.node("Interplay Meet", value=f"{value}{place}", key=key, parties=parties) for place in range(parties)
        ]
        joined = graph.node("Interplay Join", **{f"value{place}": item.out(0) for place, item in enumerate(met)})
        return {"result": (joined.out(0),), "expand": graph.finalize()}


@node({})
class Join:
    def run(self, **values):
        return (" ".join(str(values[name]) for name in sorted(values)),)


@node({"value": (ANY,)})
class Fail:
    async def run(self, value):
        await asyncio.sleep(0.01)
        raise RuntimeError("this coroutine fails")


@node({"value": (ANY,), "always": ("BOOLEAN",)})
class Sometimes:
    @classmethod
    async def IS_CHANGED(cls, value, always):
        await asyncio.sleep(0)
        return float("nan") if always else "the same"

    def run(self, value, always):
        return (value,)


@node({"number": ("INT",), "limit": ("INT",)})
class Limited:
    @classmethod
    async def VALIDATE_INPUTS(cls, number, limit, input_types):
        await asyncio.sleep(0)
        if input_types.get("number") not in (None, "*"):
            return f"a {input_types['number']} is no number"
        return True if number is None or number <= limit else f"{number} is more than {limit}"

    def run(self, number, limit):
        return (number,)


NODE_CLASS_MAPPINGS = MAPPINGS
