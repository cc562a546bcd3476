"""Stand-ins for names of packs' usual host that Weft lacks: they import, can be subclassed, and refuse to be used.

Knows no name that exists; which pack asks is the bridge's to find out.
"""

from __future__ import annotations

import dis
import inspect
import logging
import sys
from abc import ABCMeta
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

from executor.errors import NotProvided

log = logging.getLogger("weft.packs")

ROOTS = ("comfy", "comfy_extras", "comfy_execution", "comfy_api", "comfy_api_nodes", "app")
"""Top-level names below which any module is answered."""

REASONS = (
    ("comfy.ldm", "Weft builds its networks from modules of its own"),
    ("comfy.cldm", "Weft builds its networks from modules of its own"),
    ("comfy.t2i_adapter", "Weft builds its networks from modules of its own"),
    ("comfy.text_encoders", "Weft builds its networks from modules of its own"),
    ("comfy.model_base", "Weft builds its networks from modules of its own"),
    ("comfy.supported_models", "Weft finds families of models by tables of its own"),
    ("comfy.diffusers_convert", "Weft finds families of models by tables of its own"),
    ("comfy_api_nodes", "nodes that call paid services are no part of Weft"),
    ("app", "the server's own parts run in another process"),
)
"""Why the names below a prefix are left out."""

MARK = "__weft_missing__"


class Missing(ABCMeta):
    """The type of stand-ins; calling one, or a class made from one, raises NotProvided.

    While a module is being imported, a call answers with the stand-in itself, and a decorator with what it decorates,
    so that a pack's other nodes come to be.
    """

    def __call__(cls, *args: object, **kwargs: object) -> object:
        if not _at_module_level(sys._getframe(1)):
            raise missing(_name_of(cls))
        decorates = len(args) == 1 and not kwargs and inspect.isroutine(args[0])
        return args[0] if decorates else cls

    def __getattr__(cls, name: str) -> object:
        known: str | None = vars(cls).get(MARK)
        if known is None or _is_private(name) or _is_probe(sys._getframe(1)):
            raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
        return stand_in(f"{known}.{name}")

    def __iter__(cls) -> Iterator[object]:
        return iter(cls._nothing(sys._getframe(1)))

    def __getitem__(cls, key: object) -> object:
        if not _at_module_level(sys._getframe(1)):
            raise missing(_name_of(cls))
        return cls

    def __contains__(cls, item: object) -> bool:
        return item in cls._nothing(sys._getframe(1))

    def __len__(cls) -> int:
        return len(cls._nothing(sys._getframe(1)))

    def __bool__(cls) -> bool:
        return True

    def __repr__(cls) -> str:
        return f"<{_name_of(cls)}, not provided by Weft>" if MARK in vars(cls) else super().__repr__()

    def _nothing(cls, frame: FrameType) -> tuple[object, ...]:
        if not _at_module_level(frame):
            raise missing(_name_of(cls))
        return ()


class MissingModule(ModuleType):
    """A module that does not exist; every name in it is a stand-in."""

    def __getattr__(self, name: str) -> object:
        return answer(self.__name__, name, sys._getframe(1))


class Finder(MetaPathFinder, Loader):
    """Answers modules below ROOTS that nobody else finds; keeps the stand-ins there are."""

    def __init__(self) -> None:
        self.made: dict[str, Missing] = {}
        self.told: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module that holds nothing but stand-ins, for names below ROOTS."""
        root, _, rest = fullname.partition(".")
        if root not in ROOTS or (not rest and root != "app" and root != "comfy_api_nodes"):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty module."""
        return MissingModule(spec.name, "Not provided by Weft.")

    def exec_module(self, module: ModuleType) -> None:
        """Count that it was asked for."""
        self.count(module.__name__)

    def count(self, name: str) -> None:
        """Put a name into the report of the pack that asks; the log tells each pack's first one."""
        from nodes import bridge

        pack = bridge.asked(name)
        if pack is not None and pack not in self.told:
            self.told.add(pack)
            log.warning("pack %s asks for %s, which Weft does not provide; GET /weft/packs tells all names", pack, name)


def install() -> None:
    """Answer missing modules from now on, after every other way to find them."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())


def remove() -> None:
    """Undo `install`; modules that are there stay."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]


def fallback(module: str) -> Callable[[str], object]:
    """The `__getattr__` of a module that exists: names it lacks are stand-ins."""

    def __getattr__(name: str) -> object:  # noqa: N807  (a module's own hook)
        return answer(module, name, sys._getframe(1))

    return __getattr__


def submodules(package: str) -> Callable[[str], object]:
    """The `__getattr__` of a package: modules below it come without being imported first, other names are stand-ins."""

    def __getattr__(name: str) -> object:  # noqa: N807  (a module's own hook)
        if _is_private(name):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name[0].isupper():
            return answer(package, name, sys._getframe(1))
        return sys.modules.get(f"{package}.{name}") or import_module(f"{package}.{name}")

    return __getattr__


def answer(module: str, name: str, frame: FrameType) -> object:
    """The stand-in for a name of a module; AttributeError for a test whether it is there (`hasattr`)."""
    if _is_private(name) or _is_probe(frame):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return stand_in(f"{module}.{name}")


def stand_in(name: str) -> Missing:
    """The stand-in of a full name, always the same one."""
    finder = next((each for each in sys.meta_path if isinstance(each, Finder)), None) or Finder()
    if name not in finder.made:
        module, _, own = name.rpartition(".")
        finder.made[name] = Missing(own, (), {MARK: name, "__module__": module, "__doc__": "Not provided by Weft."})
    finder.count(name)
    return finder.made[name]


def missing(name: str) -> NotProvided:
    """The error of using a name that Weft lacks, with the reason where there is one."""
    whys = (why for prefix, why in REASONS if name == prefix or name.startswith(f"{prefix}."))
    return NotProvided(name, next(whys, ""))


def _name_of(cls: type) -> str:
    return next((str(vars(base)[MARK]) for base in cls.__mro__ if MARK in vars(base)), cls.__qualname__)


def _is_private(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _at_module_level(frame: FrameType) -> bool:
    """Whether code runs outside every function: a module or a class is being made."""
    return not frame.f_code.co_flags & inspect.CO_OPTIMIZED


def _is_probe(frame: FrameType) -> bool:
    """Whether a name is asked for through a call (`hasattr`, `getattr`); the import system's own calls do not count."""
    if frame.f_globals.get("__name__") == "importlib._bootstrap":
        return False
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return "CALL" in operation
