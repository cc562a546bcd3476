"""Nodes that mix two models of one family with a share for each of its layers. Know no network."""

from __future__ import annotations

from collections.abc import Iterable

from nodes.builtin.inputs import InputTypes, decimal, socket
from nodes.builtin.model_merging import ModelMergeBlocks


def numbered(name: str, count: int) -> list[str]:
    """What the names of a list's layers begin with."""
    return [f"{name}.{number}." for number in range(count)]


class _ByLayer(ModelMergeBlocks):
    PACK = "comfy_extras.nodes_model_merging_model_specific"
    CATEGORY = "advanced/model_merging/model_specific"
    LAYERS: Iterable[str] = ()  # what the names of weights begin with that have a share of their own

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        shares = {name: decimal(1.0, 0.0, 1.0) for name in cls.LAYERS}
        return {"required": {"model1": socket("MODEL"), "model2": socket("MODEL"), **shares}}


class ModelMergeFlux1(_ByLayer):
    """Mixes two Flux.1 models."""

    LAYERS = (
        *("img_in.", "time_in.", "guidance_in", "vector_in.", "txt_in."),
        *numbered("double_blocks", 19),
        *numbered("single_blocks", 38),
        "final_layer.",
    )


NODES = (ModelMergeFlux1,)
