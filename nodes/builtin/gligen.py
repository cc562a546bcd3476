"""Nodes that place texts in boxes by a GLIGEN model. Its networks are not here yet, and the loader says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.errors import ModelFileError, NodeInputError
from executor.inference.values import Conditioning
from nodes.builtin.inputs import InputTypes, files, pixels, socket, text
from nodes.builtin.services import model_path

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip


class GLIGENLoader:
    """Refuses GLIGEN models, which are not supported yet."""

    CATEGORY = "loaders"
    RETURN_TYPES = ("GLIGEN",)
    FUNCTION = "load_gligen"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"gligen_name": files("gligen")}}

    def load_gligen(self, gligen_name: str) -> tuple[object]:
        """Raise ModelFileError saying what the file is."""
        from executor.inference.weights import read_weights

        path = model_path("gligen", gligen_name, "gligen_name")
        gated = any(".fuser." in name or "position_net" in name for name in read_weights(path).tensors)
        reason = "is a GLIGEN model, and those are not supported yet" if gated else "is no GLIGEN model"
        fits = "to place texts, set areas on conditioning (ConditioningSetArea) or masks (ConditioningSetMask)"
        raise ModelFileError(path, reason, fits)


class GLIGENTextBoxApply:
    """Asks for a text within a box."""

    CATEGORY = "conditioning/gligen"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning_to": socket("CONDITIONING"),
                "clip": socket("CLIP"),
                "gligen_textbox_model": socket("GLIGEN"),
                "text": text(multiline=True, dynamicPrompts=True),
                "width": pixels(64, 8, 8),
                "height": pixels(64, 8, 8),
                "x": pixels(0, 0, 8),
                "y": pixels(0, 0, 8),
            }
        }

    def append(
        self,
        conditioning_to: Conditioning,
        clip: Clip,
        gligen_textbox_model: object,
        text: str,
        width: int,
        height: int,
        x: int,
        y: int,
    ) -> tuple[Conditioning]:
        """Raise NodeInputError: no loader of ours gives a GLIGEN model."""
        raise NodeInputError("input 'gligen_textbox_model': GLIGEN models are not supported yet")


NODES = (GLIGENLoader, GLIGENTextBoxApply)
