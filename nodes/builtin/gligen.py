"""Nodes that place texts in boxes by a GLIGEN model. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.values import Conditioning
from nodes.builtin.conditioning import entries, packed
from nodes.builtin.inputs import InputTypes, files, pixels, socket, text
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.gligen import Gligen
    from executor.inference.text.clip import Clip


CELL = 8  # pixels per latent cell


class GLIGENLoader:
    """Loads a GLIGEN model."""

    CATEGORY = "loaders"
    RETURN_TYPES = ("GLIGEN",)
    FUNCTION = "load_gligen"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"gligen_name": files("gligen")}}

    def load_gligen(self, gligen_name: str) -> tuple[Gligen]:
        """Load it; ModelFileError when the file is missing or no GLIGEN model of text boxes."""
        from executor.inference.gligen import load_gligen

        return (load_gligen(model_path("gligen", gligen_name, "gligen_name"), services().memory),)


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
        gligen_textbox_model: Gligen,
        text: str,
        width: int,
        height: int,
        x: int,
        y: int,
    ) -> tuple[Conditioning]:
        """The conditioning with one more text in a box, given in pixels."""
        _, vector = clip.encode_from_tokens(clip.tokenize(text), return_pooled="unprojected")
        box = (vector, height // CELL, width // CELL, y // CELL, x // CELL)
        changed = []
        for tensor, options in entries(conditioning_to):
            before = options.get("gligen")
            boxes = [*before[2], box] if isinstance(before, tuple) else [box]
            changed.append((tensor, {**options, "gligen": ("position", gligen_textbox_model, boxes)}))
        return (packed(changed),)


NODES = (GLIGENLoader, GLIGENTextBoxApply)
