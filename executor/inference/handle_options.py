"""How packs say what a MODEL does while it samples: its `set_model_*` methods. Knows no network and no weights.

Names, arguments and places in `model_options` are the ecosystem's (reference/custom_node_surface.md, "Object
protocols").
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias, cast

Function: TypeAlias = Callable[..., object]
OLD_CFG_ARGUMENTS = 3


class ModelOptions:
    """Writes into `model_options`."""

    model_options: dict[str, object]

    def transformer_options(self) -> dict[str, object]:
        """The options that go with every network call."""
        return cast("dict[str, object]", self.model_options.setdefault("transformer_options", {}))

    # ---------------------------------------------------------------- guidance

    def set_model_sampler_cfg_function(
        self, sampler_cfg_function: Function, disable_cfg1_optimization: bool = False
    ) -> None:
        """Mix both sides of the guidance by this function of one dictionary, or of (cond, uncond, scale)."""
        if len(inspect.signature(sampler_cfg_function).parameters) == OLD_CFG_ARGUMENTS:
            self.model_options["sampler_cfg_function"] = lambda given: sampler_cfg_function(
                given["cond"], given["uncond"], given["cond_scale"]
            )
        else:
            self.model_options["sampler_cfg_function"] = sampler_cfg_function
        self._keep_both_sides(disable_cfg1_optimization)

    def set_model_sampler_post_cfg_function(
        self, post_cfg_function: Function, disable_cfg1_optimization: bool = False
    ) -> None:
        """Let this function change the guided result, after those that do already."""
        self._append("sampler_post_cfg_function", post_cfg_function)
        self._keep_both_sides(disable_cfg1_optimization)

    def set_model_sampler_pre_cfg_function(
        self, pre_cfg_function: Function, disable_cfg1_optimization: bool = False
    ) -> None:
        """Let this function change the sides before they are mixed, after those that do already."""
        self._append("sampler_pre_cfg_function", pre_cfg_function)
        self._keep_both_sides(disable_cfg1_optimization)

    def set_model_sampler_calc_cond_batch_function(self, sampler_calc_cond_batch_function: Function) -> None:
        """Let this function answer for all sides."""
        self.model_options["sampler_calc_cond_batch_function"] = sampler_calc_cond_batch_function

    def set_model_unet_function_wrapper(self, unet_wrapper_function: Function) -> None:
        """Let this function of (apply_model, arguments) stand around every network call."""
        self.model_options["model_function_wrapper"] = unet_wrapper_function

    def set_model_denoise_mask_function(self, denoise_mask_function: Function) -> None:
        """Take the inpainting mask of each step from this function."""
        self.model_options["denoise_mask_function"] = denoise_mask_function

    # ---------------------------------------------------------------- within the network

    def set_model_patch(self, patch: object, name: str) -> None:
        """Put a function at a patch point, after those that are there."""
        patches = cast("dict[str, list[object]]", self.transformer_options().setdefault("patches", {}))
        patches[name] = [*patches.get(name, []), patch]

    def set_model_patch_replace(
        self, patch: object, name: str, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Put a function in the place of an attention of a block, or of one transformer block within it."""
        replaced = cast("dict[str, dict[object, object]]", self.transformer_options().setdefault("patches_replace", {}))
        block = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
        replaced.setdefault(name, {})[block] = patch

    def set_model_attn1_patch(self, patch: object) -> None:
        """Change what self-attention is given."""
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn2_patch(self, patch: object) -> None:
        """Change what attention to the text is given."""
        self.set_model_patch(patch, "attn2_patch")

    def set_model_attn1_replace(
        self, patch: object, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Replace self-attention."""
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_attn2_replace(
        self, patch: object, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Replace attention to the text."""
        self.set_model_patch_replace(patch, "attn2", block_name, number, transformer_index)

    def set_model_attn1_output_patch(self, patch: object) -> None:
        """Change what self-attention answers."""
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn2_output_patch(self, patch: object) -> None:
        """Change what attention to the text answers."""
        self.set_model_patch(patch, "attn2_output_patch")

    def set_model_middle_patch(self, patch: object) -> None:
        """Change tokens between self-attention and attention to the text."""
        self.set_model_patch(patch, "middle_patch")

    def set_model_input_block_patch(self, patch: object) -> None:
        """Change what an input block gives, for the skip connection too."""
        self.set_model_patch(patch, "input_block_patch")

    def set_model_input_block_patch_after_skip(self, patch: object) -> None:
        """Change what an input block gives, but not the skip connection."""
        self.set_model_patch(patch, "input_block_patch_after_skip")

    def set_model_output_block_patch(self, patch: object) -> None:
        """Change what an output block is given: the features and the skip connection."""
        self.set_model_patch(patch, "output_block_patch")

    def set_model_emb_patch(self, patch: object) -> None:
        """Change the embedding of the time."""
        self.set_model_patch(patch, "emb_patch")

    def _append(self, name: str, function: Function) -> None:
        before = cast("list[Function]", self.model_options.get(name) or [])
        self.model_options[name] = [*before, function]

    def _keep_both_sides(self, wanted: bool) -> None:
        if wanted:
            self.model_options["disable_cfg1_optimization"] = True
