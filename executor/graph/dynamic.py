"""The graph of a running prompt: what was submitted, and what nodes put in while it runs. Knows no results."""

from __future__ import annotations

from collections.abc import Mapping

from executor.errors import DuplicateNodeError, WeftError
from executor.graph.prompt import Link, is_link, link_of

NodeJson = Mapping[str, object]


class UnknownNodeId(WeftError):
    """A node id that is in no part of the graph."""


class DynamicPrompt:
    """The nodes of a prompt by id, with the ephemeral ones of expansions; packs read it as hidden DYNPROMPT.

    Method names are the ecosystem's (execution.md section 8). `parent`: the node that expanded; `display`: the node a
    client shows; `real`: the submitted node at the top.
    """

    def __init__(self, original_prompt: dict[str, NodeJson]) -> None:
        self.original_prompt = original_prompt
        self.ephemeral_prompt: dict[str, NodeJson] = {}
        self._parents: dict[str, str] = {}
        self._display: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._links: dict[str, tuple[tuple[str, Link], ...]] = {}  # of nodes whose links all lead somewhere

    def has_node(self, node_id: str) -> bool:
        """Tell whether the graph has this node."""
        return node_id in self.original_prompt or node_id in self.ephemeral_prompt

    def get_node(self, node_id: str) -> NodeJson:
        """The node `{"class_type", "inputs"}`; UnknownNodeId if there is none."""
        node = self.original_prompt.get(node_id) or self.ephemeral_prompt.get(node_id)
        if node is None:
            raise UnknownNodeId(f"there is no node {node_id!r} in the prompt")
        return node

    def all_node_ids(self) -> set[str]:
        """Every id, submitted or ephemeral."""
        return {*self.original_prompt, *self.ephemeral_prompt}

    def get_original_prompt(self) -> dict[str, NodeJson]:
        """The prompt as submitted."""
        return self.original_prompt

    def add_ephemeral_node(self, node_id: str, node_info: NodeJson, parent_id: str, display_id: str) -> None:
        """Put a node in; DuplicateNodeError if the id is taken."""
        if self.has_node(node_id):
            raise DuplicateNodeError(f"Attempt to add duplicate node {node_id}")
        self.ephemeral_prompt[node_id] = node_info
        self._parents[node_id] = parent_id
        self._real[node_id] = self.get_real_node_id(parent_id)
        self._display[node_id] = self.get_display_node_id(display_id)

    def get_real_node_id(self, node_id: str) -> str:
        """The submitted node that this one stems from; a submitted node's own id."""
        return self._real.get(node_id, node_id)

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node whose expansion made this one, None for a submitted node."""
        return self._parents.get(node_id)

    def get_display_node_id(self, node_id: str) -> str:
        """The node that clients show for this one."""
        return self._display.get(node_id, node_id)

    # ---------------------------------------------------------------- what the engine asks

    def class_type(self, node_id: str) -> str:
        """The class name of a node."""
        return str(self.get_node(node_id)["class_type"])

    def inputs(self, node_id: str) -> Mapping[str, object]:
        """A node's inputs, literals and raw links."""
        inputs = self.get_node(node_id).get("inputs")
        return inputs if isinstance(inputs, (dict, Mapping)) else {}

    def links(self, node_id: str) -> tuple[tuple[str, Link], ...]:
        """The linked inputs of a node, in order; links to nodes that do not exist are left out."""
        known = self._links.get(node_id)
        if known is not None:
            return known
        links = tuple((name, link_of(value)) for name, value in self.inputs(node_id).items() if is_link(value))
        found = tuple((name, link) for name, link in links if self.has_node(link.node))
        if len(found) == len(links):  # nodes are only ever added, so this stays true
            self._links[node_id] = found
        return found
