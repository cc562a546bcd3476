"""Makes the modules `comfy_extras.nodes_*` of the built-in node classes that say they belong there.

What a module lacks is answered by a stand-in. Knows no class by name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from inspect import getattr_static
from types import ModuleType

from executor.contract.v3.output import NodeOutput
from nodes.builtin import MODULES
from nodes.placeholders import fallback

PREFIX = "comfy_extras.nodes_"
V3_METHOD = "execute"


class CalledOnClass:
    """A node's method by the name that V3 nodes have: asked for on the class it gives a NodeOutput, as theirs do.

    On an instance it is the class's own method of that name, or answers as its own method does.
    """

    calls_on_class = True  # told by an attribute: this module may be imported anew

    def __init__(self, cls: type) -> None:
        self._method: str = cls.FUNCTION  # type: ignore[attr-defined]
        found = getattr_static(cls, self._method)
        self._own: Callable[..., object] = found._own if is_called_on_class(found) else getattr(cls, self._method)

    def __get__(self, instance: object, owner: type) -> Callable[..., object]:
        if instance is not None:
            return self._own.__get__(instance, owner)  # type: ignore[no-any-return,attr-defined]

        def execute(*given: object, **named: object) -> NodeOutput:
            outcome = self._own(owner(), *given, **named)
            if isinstance(outcome, dict):
                return NodeOutput.from_dict(outcome)
            return outcome if isinstance(outcome, NodeOutput) else NodeOutput(*outcome)  # type: ignore[misc]

        return execute


def is_called_on_class(found: object) -> bool:
    """Tell whether a class's attribute is a CalledOnClass, of this import of the module or another."""
    return getattr(type(found), "calls_on_class", False) is True


class ExtraNodes(MetaPathFinder, Loader):
    """Finds a module of extra nodes where at least one built-in class belongs to it."""

    def __init__(self) -> None:
        self.classes: dict[str, dict[str, type]] | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has classes."""
        if not fullname.startswith(PREFIX) or fullname not in self._by_module():
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> None:
        """A module of the usual type."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the classes in, and what else packs look for there."""
        import weft_extra_names

        classes = self._by_module()[module.__name__]
        names = vars(module)
        for name, cls in classes.items():
            names[name] = names[weft_extra_names.CLASS_NAMES.get(name, name)] = callable_in_every_way(
                cls, weft_extra_names.METHODS.get(name)
            )
        names |= weft_extra_names.NAMES.get(module.__name__.removeprefix(PREFIX), {})
        names["NODE_CLASS_MAPPINGS"] = dict(classes)
        shown = {name: shown for name, cls in classes.items() if (shown := getattr(cls, "DISPLAY_NAME", None))}
        names["NODE_DISPLAY_NAME_MAPPINGS"] = shown
        names["__getattr__"] = fallback(module.__name__)

    def _by_module(self) -> dict[str, dict[str, type]]:
        if self.classes is None:
            self.classes = {}
            for topic in MODULES:
                for cls in import_module(f"nodes.builtin.{topic}").NODES:
                    self.classes.setdefault(str(getattr(cls, "PACK", "nodes")), {})[cls.__name__] = cls
        return self.classes


def callable_in_every_way(cls: type, other: str | None) -> type:
    """The class, its method reached too by the name that V3 nodes have and by another one that packs know."""
    method = getattr(cls, "FUNCTION", None)
    if method is None or is_called_on_class(vars(cls).get(V3_METHOD)):
        return cls
    if not isinstance(vars(cls).get(V3_METHOD), classmethod):
        setattr(cls, V3_METHOD, CalledOnClass(cls))
    if other is not None and not hasattr(cls, other):
        setattr(cls, other, getattr(cls, method))
    return cls


def install() -> None:
    """Find these modules from now on."""
    if not any(isinstance(finder, ExtraNodes) for finder in sys.meta_path):
        sys.meta_path.insert(0, ExtraNodes())
