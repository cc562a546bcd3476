"""Nodes that strengthen or weaken what attentions ask, answer and give. Know names of weights, but no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from executor.inference.adapters import Difference
from nodes.builtin.inputs import Entry, InputTypes, decimal

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip

FACTOR = decimal(1.0, 0.0, 10.0)
MODEL: Entry = ("MODEL", {})
TEMPORAL = ".time_stack."


class _Multiply:
    """What these nodes have in common."""

    PACK = "comfy_extras.nodes_attention_multiply"
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "_for_testing/attention_experiments"
    FUNCTION = "patch"


def multiply(patched: ModelHandle | Clip, names: Iterable[str], factors: Mapping[str, float]) -> None:
    """Multiply each weight and bias whose layer's name ends with a key of `factors`; names are `patched`'s own."""
    nothing = Difference(torch.zeros(()))
    for name in names:
        layer = name.rpartition(".")[0]
        factor = next((value for ending, value in factors.items() if layer.endswith(ending)), 1.0)
        if factor != 1.0:
            patched.add_patches({name: nothing}, 0.0, factor)


class _UNetMultiply(_Multiply):
    RETURN_TYPES = ("MODEL",)
    ATTENTION: str

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": MODEL, "q": FACTOR, "k": FACTOR, "v": FACTOR, "out": FACTOR}}

    def patch(self, model: ModelHandle, q: float, k: float, v: float, out: float) -> tuple[ModelHandle]:
        """A clone whose queries, keys, values and answers are multiplied."""
        changed, layers = model.clone(), {"to_q": q, "to_k": k, "to_v": v, "to_out.0": out}
        factors = {f".{self.ATTENTION}.{layer}": factor for layer, factor in layers.items()}
        multiply(changed, model.named_weights(), factors)
        return (changed,)


class UNetSelfAttentionMultiply(_UNetMultiply):
    """Multiplies within the attention of a picture's cells to each other."""

    DESCRIPTION = "Strengthens or weakens how a model's picture attends to itself."
    ATTENTION = "attn1"


class UNetCrossAttentionMultiply(_UNetMultiply):
    """Multiplies within the attention of a picture's cells to the text."""

    DESCRIPTION = "Strengthens or weakens how a model's picture attends to the text."
    ATTENTION = "attn2"


class UNetTemporalAttentionMultiply(_Multiply):
    """Multiplies what a video model's attentions give, those within frames and those between frames apart."""

    DESCRIPTION = "Strengthens or weakens what attention within the frames and between the frames of a video adds."
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        names = ("self_structural", "self_temporal", "cross_structural", "cross_temporal")
        return {"required": {"model": MODEL, **dict.fromkeys(names, FACTOR)}}

    def patch(
        self,
        model: ModelHandle,
        self_structural: float,
        self_temporal: float,
        cross_structural: float,
        cross_temporal: float,
    ) -> tuple[ModelHandle]:
        """A clone whose attentions' answers are multiplied."""
        changed = model.clone()
        names = list(model.named_weights())
        between = [name for name in names if TEMPORAL in name]
        within = [name for name in names if TEMPORAL not in name]
        multiply(changed, within, {".attn1.to_out.0": self_structural, ".attn2.to_out.0": cross_structural})
        multiply(changed, between, {".attn1.to_out.0": self_temporal, ".attn2.to_out.0": cross_temporal})
        return (changed,)


class CLIPAttentionMultiply(_Multiply):
    """Multiplies within the attention of text encoders."""

    DESCRIPTION = "Strengthens or weakens how the words of a prompt attend to each other."
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"clip": ("CLIP", {}), "q": FACTOR, "k": FACTOR, "v": FACTOR, "out": FACTOR}}

    def patch(self, clip: Clip, q: float, k: float, v: float, out: float) -> tuple[Clip]:
        """A clone whose queries, keys, values and answers are multiplied."""
        changed, layers = clip.clone(), {"q_proj": q, "k_proj": k, "v_proj": v, "out_proj": out}
        factors = {f".self_attn.{layer}": factor for layer, factor in layers.items()}
        multiply(changed, clip.named_weights(), factors)
        return (changed,)


NODES = (
    CLIPAttentionMultiply,
    UNetSelfAttentionMultiply,
    UNetCrossAttentionMultiply,
    UNetTemporalAttentionMultiply,
)
