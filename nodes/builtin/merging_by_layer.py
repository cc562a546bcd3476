"""Nodes that mix two models of one family with a share for each of its layers. Know no network."""

from __future__ import annotations

from collections.abc import Iterable

from nodes.builtin.inputs import InputTypes, decimal, socket
from nodes.builtin.model_merging import ModelMergeBlocks


def numbered(name: str, count: int, ending: str = ".") -> list[str]:
    """What the names of a list's layers begin with."""
    return [f"{name}.{number}{ending}" for number in range(count)]


def of_unet(blocks: int, ending: str = ".") -> tuple[str, ...]:
    """The layers of a UNet of so many blocks on each side."""
    counts = {"input_blocks": blocks, "middle_block": 3, "output_blocks": blocks}
    layers = (layer for name, count in counts.items() for layer in numbered(name, count, ending))
    return ("time_embed.", "label_emb.", *layers, "out.")


def of_mmdit(blocks: int) -> tuple[str, ...]:
    """The layers of a transformer of Stable Diffusion 3 of so many blocks."""
    first = ("pos_embed.", "x_embedder.", "context_embedder.", "y_embedder.", "t_embedder.")
    return (*first, *numbered("joint_blocks", blocks), "final_layer.")


class _ByLayer(ModelMergeBlocks):
    PACK = "comfy_extras.nodes_model_merging_model_specific"
    CATEGORY = "advanced/model_merging/model_specific"
    LAYERS: Iterable[str] = ()  # what the names of weights begin with that have a share of their own

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        shares = {name: decimal(1.0, 0.0, 1.0) for name in cls.LAYERS}
        return {"required": {"model1": socket("MODEL"), "model2": socket("MODEL"), **shares}}


class ModelMergeSD1(_ByLayer):
    """Mixes two models of Stable Diffusion 1.x."""

    LAYERS = of_unet(12)


class ModelMergeSD2(_ByLayer):
    """Mixes two models of Stable Diffusion 2.x."""

    LAYERS = of_unet(12)


class ModelMergeSDXL(_ByLayer):
    """Mixes two SDXL models."""

    LAYERS = of_unet(9, ending="")


class ModelMergeSD3_2B(_ByLayer):  # noqa: N801  (the ecosystem's name)
    """Mixes two models of Stable Diffusion 3 medium."""

    LAYERS = of_mmdit(24)


class ModelMergeSD35_Large(_ByLayer):  # noqa: N801  (the ecosystem's name)
    """Mixes two models of Stable Diffusion 3.5 large."""

    LAYERS = of_mmdit(38)


class ModelMergeFlux1(_ByLayer):
    """Mixes two Flux.1 models."""

    LAYERS = (
        *("img_in.", "time_in.", "guidance_in", "vector_in.", "txt_in."),
        *numbered("double_blocks", 19),
        *numbered("single_blocks", 38),
        "final_layer.",
    )


class ModelMergeWAN2_1(_ByLayer):  # noqa: N801  (the ecosystem's name)
    """Mixes two Wan models."""

    LAYERS = (
        *("patch_embedding.", "time_embedding.", "time_projection.", "text_embedding.", "img_emb."),
        *numbered("blocks", 40),
        "head.",
    )


class ModelMergeQwenImage(_ByLayer):
    """Mixes two Qwen-Image models."""

    LAYERS = (
        *("pos_embeds.", "img_in.", "txt_norm.", "txt_in.", "time_text_embed."),
        *numbered("transformer_blocks", 60),
        "proj_out.",
    )


NODES = (
    ModelMergeSD1,
    ModelMergeSD2,
    ModelMergeSDXL,
    ModelMergeSD3_2B,
    ModelMergeSD35_Large,
    ModelMergeFlux1,
    ModelMergeWAN2_1,
    ModelMergeQwenImage,
)
