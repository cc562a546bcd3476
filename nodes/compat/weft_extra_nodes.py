"""Makes the modules `comfy_extras.nodes_*` of the built-in node classes that say they belong there.

What a module lacks is answered by a stand-in. Knows no class by name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from nodes.builtin import MODULES
from nodes.placeholders import fallback

PREFIX = "comfy_extras.nodes_"
CLASS_NAMES = {"ImageBlend": "Blend", "ImageBlur": "Blur", "ImageQuantize": "Quantize"}
"""Under which names packs import nodes whose class is called otherwise than the node."""


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
        """Put the classes in."""
        classes = self._by_module()[module.__name__]
        vars(module).update(classes)
        vars(module).update({CLASS_NAMES[name]: cls for name, cls in classes.items() if name in CLASS_NAMES})
        vars(module)["NODE_CLASS_MAPPINGS"] = dict(classes)
        names = {name: shown for name, cls in classes.items() if (shown := getattr(cls, "DISPLAY_NAME", None))}
        vars(module)["NODE_DISPLAY_NAME_MAPPINGS"] = names
        vars(module)["__getattr__"] = fallback(module.__name__)

    def _by_module(self) -> dict[str, dict[str, type]]:
        if self.classes is None:
            self.classes = {}
            for topic in MODULES:
                for cls in import_module(f"nodes.builtin.{topic}").NODES:
                    self.classes.setdefault(str(getattr(cls, "PACK", "nodes")), {})[cls.__name__] = cls
        return self.classes


def install() -> None:
    """Find these modules from now on."""
    if not any(isinstance(finder, ExtraNodes) for finder in sys.meta_path):
        sys.meta_path.insert(0, ExtraNodes())
