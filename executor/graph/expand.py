"""Sub-graphs that nodes return: building them, and putting them into the running graph. Runs nothing.

The builder's names are the ecosystem's (reference/execution.md section 13); ids start with
`<node id>.<call index>.<graph index>.` of the call that builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from executor.graph.dynamic import DynamicPrompt, NodeJson
from executor.graph.prompt import is_link, link_of


@dataclass(slots=True)
class _Prefix:
    """What the ids of the next graph start with; one per node call, so that calls side by side do not mix."""

    root: str
    call_index: int
    graph_index: int


_prefix: ContextVar[_Prefix | None] = ContextVar("weft_graph_prefix", default=None)


class GraphNode:
    """One node of a graph that is being built."""

    def __init__(self, id: str, class_type: str, inputs: dict[str, object]) -> None:
        self.id = id
        self.class_type = class_type
        self.inputs = inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> list[object]:
        """The link to output `index`."""
        return [self.id, index]

    def set_input(self, key: str, value: object) -> None:
        """Set an input; None takes it away."""
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> object:
        """The value of an input, or None."""
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str) -> None:
        """Let clients show another node for this one."""
        self.override_display_id = override_display_id

    def serialize(self) -> dict[str, object]:
        """The node as it stands in a prompt."""
        node: dict[str, object] = {"class_type": self.class_type, "inputs": self.inputs}
        if self.override_display_id is not None:
            node["override_display_id"] = self.override_display_id
        return node


class GraphBuilder:
    """Makes the `expand` graph of a node's result."""

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = self.alloc_prefix() if prefix is None else prefix
        self.nodes: dict[str, GraphNode] = {}
        self._count = 0

    @classmethod
    def set_default_prefix(cls, prefix_root: str, call_index: int, graph_index: int = 0) -> None:
        """Set what the ids of graphs start with from here on, in this call."""
        _prefix.set(_Prefix(prefix_root, call_index, graph_index))

    @classmethod
    def alloc_prefix(
        cls, root: str | None = None, call_index: int | None = None, graph_index: int | None = None
    ) -> str:
        """The start of the ids of one more graph."""
        state = _prefix.get()
        if state is None:
            state = _Prefix("", 0, 0)
            _prefix.set(state)
        parts = (
            state.root if root is None else root,
            state.call_index if call_index is None else call_index,
            state.graph_index if graph_index is None else graph_index,
        )
        if graph_index is None:
            state.graph_index += 1
        return "".join(f"{part}." for part in parts)

    def node(self, class_type: str, id: str | None = None, **inputs: object) -> GraphNode:
        """Add a node, with an id counted from 1 if none is given; an id that is there gives that node."""
        if id is None:
            self._count += 1
            id = str(self._count)
        full = self.prefix + id
        if full not in self.nodes:
            self.nodes[full] = GraphNode(full, class_type, inputs)
        return self.nodes[full]

    def lookup_node(self, id: str) -> GraphNode | None:
        """The node with that id, without prefix, or None."""
        return self.nodes.get(self.prefix + id)

    def remove_node(self, id: str) -> None:
        """Take a node out, by its id without prefix."""
        del self.nodes[self.prefix + id]

    def replace_node_output(self, node_id: str, index: int, new_value: object) -> None:
        """Put a value (None: nothing) wherever output `index` of a node is linked."""
        full = self.prefix + node_id
        for node in self.nodes.values():
            for key, value in list(node.inputs.items()):
                if is_link(value) and link_of(value) == (full, index):
                    node.set_input(key, new_value)

    def finalize(self) -> dict[str, dict[str, object]]:
        """The graph as a node returns it under `expand`."""
        return {node_id: node.serialize() for node_id, node in self.nodes.items()}


def add_graph_prefix(
    graph: Mapping[str, NodeJson], outputs: list[object], prefix: str
) -> tuple[dict[str, NodeJson], tuple[object, ...]]:
    """A copy of a graph and the links into it with `prefix` before every id of it."""

    def renamed(value: object) -> object:
        if is_link(value):
            link = link_of(value)
            return [prefix + link.node, value[1]] if link.node in graph else value
        return value

    copied: dict[str, NodeJson] = {}
    for node_id, node in graph.items():
        inputs = node.get("inputs")
        inputs = inputs if isinstance(inputs, Mapping) else {}
        copied[prefix + node_id] = {**node, "inputs": {key: renamed(value) for key, value in inputs.items()}}
    return copied, tuple(renamed(output) for output in outputs)


def graft(graph: DynamicPrompt, parent: str, added: Mapping[str, NodeJson]) -> list[str]:
    """Put the nodes of an expansion under the node that made it and return their ids; DuplicateNodeError if taken."""
    for node_id, node in added.items():
        display = node.get("override_display_id")
        graph.add_ephemeral_node(node_id, node, parent, str(display) if display else parent)
    return list(added)
