"""The node that applies a hypernetwork. Knows where a file lies, not what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.builtin.inputs import InputTypes, decimal, files, socket
from nodes.builtin.services import model_path

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

MOST = 10.0


class HypernetworkLoader:
    """Changes what a model's attentions read by a hypernetwork."""

    PACK = "comfy_extras.nodes_hypernetwork"
    CATEGORY = "loaders"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load_hypernetwork"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "hypernetwork_name": files("hypernetworks"),
                "strength": decimal(1.0, -MOST, MOST),
            }
        }

    def load_hypernetwork(self, model: ModelHandle, hypernetwork_name: str, strength: float) -> tuple[ModelHandle]:
        """A changed copy; ModelFileError when the file is missing, broken or no hypernetwork."""
        from executor.inference.hypernetwork import load_hypernetwork

        patch = load_hypernetwork(model_path("hypernetworks", hypernetwork_name, "hypernetwork_name"), strength)
        changed = model.clone()
        changed.set_model_attn1_patch(patch)
        changed.set_model_attn2_patch(patch)
        return (changed,)


NODES = (HypernetworkLoader,)
