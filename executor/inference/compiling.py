"""A network compiled by torch.compile while it is called through a MODEL. Knows no model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import nn

from executor.errors import NodeInputError
from executor.inference.weights import first_line
from executor.inference.wrappers import WrapperExecutor

KEY = "weft.compile"
CACHE = "TORCHINDUCTOR_CACHE_DIR"  # read by torch when it compiles
COMPILERS = ("g++", "clang++", "c++", "cl")


class Compiled:
    """Stands around a network's call and calls a compiled form of it; the network itself stays as it is."""

    def __init__(self, backend: str, folder: Path | None = None) -> None:
        """`folder`: where what was compiled is kept, so that the next start need not compile it again."""
        self.backend, self.folder = backend, folder
        self._forms: dict[int, tuple[nn.Module, Callable[..., object]]] = {}

    def __call__(self, executor: WrapperExecutor, *args: object, **kwargs: object) -> object:
        """What the compiled network answers; NodeInputError when it cannot be compiled."""
        inner = executor.original
        executor.original = self.compiled(inner)
        try:
            return executor(*args, **kwargs)
        except Exception as error:
            if is_compilers(error):
                raise NodeInputError(
                    f"the model cannot be compiled with {self.backend!r}: {first_line(error)}"
                ) from error
            raise
        finally:
            executor.original = inner

    def compiled(self, network: Callable[..., object]) -> Callable[..., object]:
        """The compiled form of a network, made at its first use."""
        kept = self._forms.get(id(network))
        if kept is None:
            if self.folder is not None:
                keep_in(self.folder)
            kept = cast(nn.Module, network), cast("Callable[..., object]", torch.compile(network, backend=self.backend))
            self._forms = {id(network): kept}
        return kept[1]


def keep_in(folder: Path) -> None:
    """Let what is compiled be kept in a folder, unless the user chose another one."""
    chosen = os.environ.get(CACHE)
    # Imported here: it takes more than a second, and writes its own default where nothing is chosen, as does any
    # library that imports it sooner.
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if chosen in (None, default_cache_dir()):
        os.environ[CACHE] = str(folder)


def check_backend(backend: str, device: torch.device) -> None:
    """Raise NodeInputError saying what is missing where a backend cannot work on a device."""
    if backend == "cudagraphs" and device.type != "cuda":
        raise NodeInputError("input 'backend': 'cudagraphs' needs an NVIDIA GPU; 'inductor' works on the CPU too")
    own = os.environ.get("CXX")
    if backend == "inductor" and not any(map(shutil.which, (own,) if own else COMPILERS)):
        looked = own or ", ".join(COMPILERS)
        fits = "install one (on Debian and Ubuntu: apt install g++), or take the node out"
        raise NodeInputError(f"input 'backend': 'inductor' needs a C++ compiler, and none was found ({looked}); {fits}")


def is_compilers(error: Exception) -> bool:
    """Whether an error comes from compiling and not from what is compiled."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
