"""Classes of packs' usual host that are other classes here: tests of kind hold, and calling one makes Weft's own."""

from __future__ import annotations


class Alias(type):
    """The type of a class that stands for one of Weft's (`core`); its subclasses are ordinary classes."""

    core: type | None

    def __instancecheck__(cls, instance: object) -> bool:
        core = vars(cls).get("core")
        return (core is not None and isinstance(instance, core)) or super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        core = vars(cls).get("core")
        return (core is not None and issubclass(subclass, core)) or super().__subclasscheck__(subclass)
