"""The node that compiles a model's network. Knows no compiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from executor.inference.compiling import KEY, Compiled, check_backend
from executor.inference.wrappers import DIFFUSION_MODEL
from nodes.builtin.inputs import InputTypes, combo
from nodes.builtin.services import services

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle


class TorchCompileModel:
    """Lets torch compile a model's network at its first call."""

    LISTING = "v3"
    EXPERIMENTAL = True
    PACK = "comfy_extras.nodes_torch_compile"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {}), "backend": combo(["inductor", "cudagraphs"])}}

    def patch(self, model: ModelHandle, backend: str) -> tuple[ModelHandle]:
        """A copy that is compiled when it is used; NodeInputError where the backend cannot work."""
        check_backend(backend, model.load_device)
        changed = model.clone()
        changed.remove_wrappers_with_key(DIFFUSION_MODEL, KEY)
        changed.add_wrapper_with_key(DIFFUSION_MODEL, KEY, Compiled(backend, kept_in()))
        return (changed,)


def kept_in() -> Path | None:
    """Where compiled networks are kept from start to start; None outside a worker."""
    try:
        return services().settings.folder("user") / "compiled"
    except RuntimeError:
        return None


NODES = (TorchCompileModel,)
