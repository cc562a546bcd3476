"""An oracle for the engine: what a prompt gives and which calls it makes, by plain recursion over its meaning.

It shares nothing with the engine: no plan, no keys, no cache. Nodes are those of `test_properties.py`.
"""

import json

BLOCKED = object()
"""Stands for a blocker among items."""


def grown(value, depth, tag):
    """The nodes that Grow puts in for a value, by id without prefix, and the id that its output links.

    `tag` is another number for every submitted Grow: which of two equal ones keeps the inner results is left open.
    """
    if depth == 0:
        return {"in": ("Mix", {"a": value, "b": "leaf"})}, "in"
    again = ("Grow", {"value": ["in", 0], "depth": depth - 1, "tag": tag})
    return {"in": ("Mix", {"a": value}), "up": again}, "up"


class Node:
    """A node with its sources in place of links."""

    def __init__(self, kind, inputs):
        self.kind = kind
        self.inputs = inputs  # name -> literal, or (Node, slot)
        self._expression = None
        self._items = None
        self.inner = []  # the last node of each graph that it expands to
        self.calls = []  # arguments of each call that was made, as JSON

    @property
    def expression(self):
        """A text that is equal exactly for nodes with equal results by definition."""
        if self._expression is None:
            parts = {name: self._part(value) for name, value in self.inputs.items()}
            self._expression = json.dumps([self.kind, parts], sort_keys=True)
        return self._expression

    @staticmethod
    def _part(value):
        return [value[0].expression, value[1]] if isinstance(value, tuple) else value

    def wanted(self):
        """The inputs whose sources have to be there, in order."""
        names = list(self.inputs)
        if self.kind == "Pick":
            names = ["on" if self.inputs["first"] else "off"]
        return [self.inputs[name] for name in names if isinstance(self.inputs.get(name), tuple)]

    def arguments(self):
        """The items of every input; a lazy one that nobody asked for is one None."""
        found = {}
        for name, value in self.inputs.items():
            if not isinstance(value, tuple):
                found[name] = [value]
            elif value in self.wanted():
                found[name] = value[0].items()
            else:
                found[name] = [None]
        return found

    def items(self):
        """The items of the node's only output; notes the calls on the way."""
        if self._items is None:
            self._items = self._made()
        return self._items

    def _made(self):
        given = self.arguments()
        if self.kind == "Gather":
            given = {name: list(items) for name, items in given.items()}
            if any(BLOCKED in items for items in given.values()):
                return [BLOCKED]
            return self._call(given)
        length = max((len(items) for items in given.values()), default=0)
        made = []
        for index in range(max(1, length)):
            call = {name: items[min(index, len(items) - 1)] for name, items in given.items()}
            made += [BLOCKED] if BLOCKED in call.values() else self._call(call)
        return made

    def _call(self, arguments):
        told = arguments
        if self.kind == "Pick":
            told = {"first": arguments["first"], "chosen": arguments["on" if arguments["first"] else "off"]}
        self.calls.append(json.dumps([self.kind, told], sort_keys=True))
        match self.kind:
            case "Mix" | "Later":
                return [json.dumps(arguments, sort_keys=True)]
            case "Gather":
                return [json.dumps(arguments["value"])]
            case "Spread":
                return [f"{arguments['value']}/{number}" for number in range(arguments["count"])]
            case "Pick":
                return [arguments["on" if arguments["first"] else "off"]]
            case "Block":
                return [BLOCKED if arguments["shut"] else arguments["value"]]
            case "Grow":
                return self._grown(arguments).items()
            case "Show":
                return [str(arguments["value"])]
        raise AssertionError(self.kind)

    def _grown(self, arguments):
        graph, last = grown(arguments["value"], arguments["depth"], arguments["tag"])
        made = {}
        for name, (kind, inputs) in graph.items():
            linked = {key: (made[value[0]], value[1]) if is_link(value) else value for key, value in inputs.items()}
            made[name] = Node(kind, linked)
        self.inner.append(made[last])
        return made[last]


def is_link(value):
    return isinstance(value, list) and len(value) == 2 and value[1] == 0


class Model:
    """A whole prompt."""

    def __init__(self, prompt):
        self.nodes = {}
        for name, item in prompt.items():  # sources stand before their users
            inputs = {
                key: (self.nodes[value[0]], value[1]) if is_link(value) else value
                for key, value in item["inputs"].items()
            }
            self.nodes[name] = Node(item["class_type"], inputs)

    def shown(self):
        """What the outputs show, by node: texts of the calls that were made."""
        texts = {name: self._shown(node) for name, node in self.nodes.items() if node.kind == "Show"}
        return {name: text for name, text in texts.items() if text}

    @staticmethod
    def _shown(node):
        return [item for item in node.items() if item is not BLOCKED]

    def work(self, kept):
        """What a run has to do, given the expressions whose results are kept: {expression: its calls}."""
        done = {}
        todo = [node for node in self.nodes.values() if node.kind == "Show"]
        while todo:
            node = todo.pop()
            if node.expression in kept or node.expression in done:
                continue
            node.items()
            done[node.expression] = node.calls
            todo += [source for source, _ in node.wanted()]
            todo += node.inner
        return done

    def every_call(self):
        """The calls of a run where each node runs once and equal ones know nothing of each other."""
        done = {}
        todo = [node for node in self.nodes.values() if node.kind == "Show"]
        while todo:
            node = todo.pop()
            if node not in done:
                node.items()
                done[node] = node.calls
                todo += [source for source, _ in node.wanted()]
                todo += node.inner
        return sorted(call for calls in done.values() for call in calls)

    def inner(self, name, work):
        """Expressions of the nodes that an expansion of a submitted node puts in, where it expands in this work."""
        found, todo = set(), [self.nodes[name]]
        while todo:
            node = todo.pop()
            for last in node.inner if node.expression in work else []:
                for each in below(last):
                    found.add(each.expression)
                    todo.append(each)
        return found


def below(last):
    """The nodes of one expansion: the last and its sources."""
    found, todo = [], [last]
    while todo:
        node = todo.pop()
        found.append(node)
        todo += [value[0] for value in node.inputs.values() if isinstance(value, tuple)]
    return found
