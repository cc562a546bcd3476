"""`comfy_execution.graph_utils`: building the graphs that nodes expand to."""

from executor.contract.blocker import ExecutionBlocker
from executor.graph.expand import GraphBuilder, add_graph_prefix
from executor.graph.expand import GraphNode as Node
from executor.graph.prompt import is_link
from nodes import placeholders

__getattr__ = placeholders.fallback(__name__)

__all__ = ["ExecutionBlocker", "GraphBuilder", "Node", "add_graph_prefix", "is_link"]
