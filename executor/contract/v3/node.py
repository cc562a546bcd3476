"""The base class of V3 nodes, and the V1 attributes that follow from a schema. Knows no graph.

Source of names: reference/execution.md section 14. Calls go to a locked clone of the class, which carries the hidden
values of that call: nodes keep no state.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, TypeVar, cast

from executor.contract.blocker import ExecutionBlocker
from executor.contract.v3.output import NodeOutput
from executor.contract.v3.schema import Schema, input_types, return_names

_Value = TypeVar("_Value")


class HiddenHolder:
    """The hidden values of one call by name; a name that was not asked for gives None."""

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._values = dict(values or {})

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._values.get(name)


class _OfClass(Generic[_Value]):
    """A value worked out from the class when it is asked for."""

    def __init__(self, work_out: Callable[[type[ComfyNode]], _Value]) -> None:
        self._work_out = work_out

    def __get__(self, instance: object, owner: type) -> _Value:
        return self._work_out(cast("type[ComfyNode]", owner))


class _Lockable(ABCMeta):
    """A class of classes that can be closed against changes."""

    def __setattr__(cls, name: str, value: object) -> None:
        if vars(cls).get("_is_locked"):
            raise AttributeError(
                f"{cls.__name__}.{name} cannot be set: a V3 node keeps no state between calls; use the class itself, "
                "a module, or an output"
            )
        super().__setattr__(name, value)


class ComfyNode(metaclass=_Lockable):
    """A node: a schema, and what it does. Everything is a class method, there are no instances with a life."""

    hidden: ClassVar[HiddenHolder] = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        """What the node is; called anew for every listing."""
        raise TypeError(f"{cls.__name__} has no define_schema")

    @classmethod
    def execute(cls, **kwargs: object) -> object:
        """Do the work; may be async."""
        raise TypeError(f"{cls.__name__} has no execute")

    @classmethod
    def validate_inputs(cls, **kwargs: object) -> object:
        """True, or what is wrong with the values."""
        return True

    @classmethod
    def fingerprint_inputs(cls, **kwargs: object) -> object:
        """A value that changes when the node has to run again."""
        return None

    @classmethod
    def check_lazy_status(cls, **kwargs: object) -> object:
        """The names of the lazy inputs that are needed."""
        return [name for name, value in kwargs.items() if value is None]

    # ---------------------------------------------------------------- what the engine asks

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802  # the ecosystem's name
        """The schema, complete and checked; ValueError if two inputs or outputs share an id."""
        schema = cls.define_schema()
        schema.finalize()
        schema.validate()
        return schema

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, object]:  # noqa: N802  # the V1 contract's name
        """The inputs in V1's form."""
        return input_types(cls.GET_SCHEMA())

    @classmethod
    def EXECUTE_NORMALIZED(cls, *args: object, **kwargs: object) -> NodeOutput:  # noqa: N802  # the ecosystem's name
        """Call `execute` and make a NodeOutput of whatever it returns."""
        return output_of(locked(cls).execute(*args, **kwargs), cls)

    @classmethod
    async def EXECUTE_NORMALIZED_ASYNC(cls, *args: object, **kwargs: object) -> NodeOutput:  # noqa: N802  # as above
        """The same for an async `execute`."""
        coming = cast("Callable[..., object]", locked(cls).execute)(*args, **kwargs)
        return output_of(await coming if inspect.isawaitable(coming) else coming, cls)

    FUNCTION = _OfClass(lambda cls: f"EXECUTE_NORMALIZED{'_ASYNC' if inspect.iscoroutinefunction(cls.execute) else ''}")
    CATEGORY = _OfClass(lambda cls: cls.GET_SCHEMA().category)
    DESCRIPTION = _OfClass(lambda cls: cls.GET_SCHEMA().description or "")
    RETURN_TYPES = _OfClass(lambda cls: tuple(output.get_io_type() for output in cls.GET_SCHEMA().outputs))
    RETURN_NAMES = _OfClass(lambda cls: return_names(cls.GET_SCHEMA()))
    OUTPUT_IS_LIST = _OfClass(lambda cls: tuple(output.is_output_list for output in cls.GET_SCHEMA().outputs))
    OUTPUT_TOOLTIPS = _OfClass(lambda cls: tuple(output.tooltip for output in cls.GET_SCHEMA().outputs))
    INPUT_IS_LIST = _OfClass(lambda cls: bool(cls.GET_SCHEMA().is_input_list))
    OUTPUT_NODE = _OfClass(lambda cls: bool(cls.GET_SCHEMA().is_output_node))
    NOT_IDEMPOTENT = _OfClass(lambda cls: bool(cls.GET_SCHEMA().not_idempotent))
    DEPRECATED = _OfClass(lambda cls: bool(cls.GET_SCHEMA().is_deprecated))
    EXPERIMENTAL = _OfClass(lambda cls: bool(cls.GET_SCHEMA().is_experimental))
    API_NODE = _OfClass(lambda cls: bool(cls.GET_SCHEMA().is_api_node))
    VALIDATE_INPUTS = _OfClass(lambda cls: _own(cls, "validate_inputs"))
    IS_CHANGED = _OfClass(lambda cls: _own(cls, "fingerprint_inputs"))


def _own(cls: type[ComfyNode], name: str) -> Callable[..., object]:
    """A function that the node defines itself, on a locked class; AttributeError if it has only the base's."""
    if not overrides(cls, name):
        raise AttributeError(f"{cls.__name__} has no {name} of its own")
    return cast("Callable[..., object]", getattr(locked(cls), name))


def overrides(cls: type, name: str) -> bool:
    """Tell whether a node class defines a function of the base class itself."""
    ours = getattr(cls, name, None)
    return getattr(ours, "__func__", ours) is not vars(ComfyNode)[name].__func__


def locked(cls: type[ComfyNode], hidden: Mapping[str, object] | None = None) -> type[ComfyNode]:
    """A clone of a node class with these hidden values, on which nothing can be set; a clone stays itself.

    Calls without hidden values share one clone.
    """
    if hidden:
        return _clone(cls, hidden)
    if vars(cls).get("_is_locked"):
        return cls
    shared: type[ComfyNode] | None = vars(cls).get("_shared_clone")
    if shared is None:
        shared = _clone(cls, {})
        type.__setattr__(cls, "_shared_clone", shared)
    return shared


def _clone(cls: type[ComfyNode], hidden: Mapping[str, object]) -> type[ComfyNode]:
    body = {"hidden": HiddenHolder(hidden), "__module__": cls.__module__, "__doc__": cls.__doc__}
    clone = cast("type[ComfyNode]", cast(type, type(cls))(cls.__name__, (cls,), body))
    type.__setattr__(clone, "_is_locked", True)
    return clone


def output_of(result: object, cls: type[ComfyNode]) -> NodeOutput:
    """What `execute` returned as a NodeOutput; TypeError for what is none, ValueError for a graph not allowed."""
    output = _read(result, cls)
    if output.expand is not None and not cls.GET_SCHEMA().enable_expand:
        raise ValueError(f"{cls.__name__} returned a graph to expand, but its schema does not say enable_expand=True")
    return output


def _read(result: object, cls: type[ComfyNode]) -> NodeOutput:
    match result:
        case NodeOutput():
            return result
        case None:
            return NodeOutput()
        case tuple():
            return NodeOutput(*result)
        case dict():
            return NodeOutput.from_dict(result)
        case ExecutionBlocker():
            return NodeOutput(*[result] * max(1, len(cls.GET_SCHEMA().outputs)))
        case _:
            kind = type(result).__name__
            raise TypeError(f"{cls.__name__} returned {kind}; a node returns io.NodeOutput, a tuple, a dict or nothing")
