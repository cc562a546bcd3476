"""The node that saves differences of models as a LoRA. Knows no maths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from executor.errors import NodeInputError
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, combo, flag, integer, text
from nodes.builtin.model_saving import write

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.lora_extraction import Form
    from executor.inference.text.clip import Clip

DIFFUSION, TEXT = "diffusion_model.", "text_encoders."


class LoraSave:
    """Makes a LoRA of what ModelMergeSubtract and CLIPMergeSubtract give."""

    LISTING = "v3"
    EXPERIMENTAL = True
    PACK = "comfy_extras.nodes_lora_extract"
    DISPLAY_NAME = "Extract and Save Lora"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        of_model = "The difference of two models, from ModelMergeSubtract."
        of_text = "The difference of two text models, from CLIPMergeSubtract."
        return {
            "required": {
                "filename_prefix": text(multiline=False, default="loras/ComfyUI_extracted_lora"),
                "rank": integer(8, 1, 4096, step=1),
                "lora_type": combo(["standard", "full_diff"]),
                "bias_diff": flag(default=True),
            },
            "optional": {
                "model_diff": ("MODEL", {"tooltip": of_model}),
                "text_encoder_diff": ("CLIP", {"tooltip": of_text}),
            },
            "hidden": {name: (kind,) for name, kind in PNG_HIDDEN.items()},
        }

    def save(
        self,
        filename_prefix: str,
        rank: int,
        lora_type: Form,
        bias_diff: bool,
        model_diff: ModelHandle | None = None,
        text_encoder_diff: Clip | None = None,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write the file; NodeInputError when neither is given, or nothing differs."""
        from executor.inference.lora_extraction import extracted

        differences: dict[str, Tensor] = {}
        if model_diff is not None:
            differences |= {DIFFUSION + key: weight for key, weight in model_diff.patched_weights().items()}
        if text_encoder_diff is not None:
            differences |= {TEXT + name: weight for name, weight in text_encoder_diff.get_sd().items()}
        found = extracted(differences, rank, lora_type, biases=bias_diff)
        if not found:
            raise NodeInputError("there is no difference to save: give 'model_diff' or 'text_encoder_diff'")
        return write(found, filename_prefix, prompt, extra_pnginfo)


NODES = (LoraSave,)
