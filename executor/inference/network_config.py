"""What a network is, in the words packs read it by: its sizes, what its output means. Builds nothing.

Names: reference/custom_node_surface.md (`model_config`, `unet_config`, comfy.model_base.ModelType).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from executor.inference import denoiser
from executor.inference.denoiser import ModelSampling
from executor.inference.latent_formats import LatentFormat
from executor.inference.noise_levels import ExponentialFlowLevels

if TYPE_CHECKING:
    from executor.inference.unet import BlockShape, UNetShape


class ModelType(enum.Enum):
    """What a network's output means."""

    EPS = 1
    V_PREDICTION = 2
    V_PREDICTION_EDM = 3
    STABLE_CASCADE = 4
    EDM = 5
    FLOW = 6
    V_PREDICTION_CONTINUOUS = 7
    FLUX = 8
    IMG_TO_IMG = 9
    FLOW_COSMOS = 10


PREDICTIONS: tuple[tuple[type, ModelType], ...] = (
    (denoiser.CosmosFlow, ModelType.FLOW_COSMOS),
    (denoiser.ImageToImage, ModelType.IMG_TO_IMG),
    (denoiser.VPrediction, ModelType.V_PREDICTION),
    (denoiser.Edm, ModelType.EDM),
    (denoiser.Flow, ModelType.FLOW),
)
"""Predictions and what they are called; the first that fits counts, another one is EPS."""


def model_type(sampling: ModelSampling) -> ModelType:
    """What the output of a network with this sampling means."""
    if isinstance(sampling.levels, ExponentialFlowLevels):
        return ModelType.FLUX
    found = (kind for prediction, kind in PREDICTIONS if isinstance(sampling.prediction, prediction))
    return next(found, ModelType.EPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes of a network and its latents."""

    unet_config: dict[str, object]
    latent_format: LatentFormat | None


def unet_config(shape: UNetShape) -> dict[str, object]:
    """Sizes of a UNet by the names that packs read them by."""
    levels = _levels(shape.input)
    found: dict[str, object] = {
        "image_size": 32,
        "use_checkpoint": False,
        "use_spatial_transformer": True,
        "legacy": False,
        "num_classes": "sequential" if shape.vector else None,
        "adm_in_channels": shape.vector,
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "model_channels": shape.width,
        "num_res_blocks": [len(level) for level in levels],
        "transformer_depth": [depth for level in levels for _, depth in level],
        "channel_mult": [_times(level[-1][0], shape.width) for level in levels if level],
        "transformer_depth_middle": max((layer.depth for layer in shape.middle), default=-1),
        "use_linear_in_transformer": shape.linear,
        "context_dim": shape.context,
        "use_temporal_attention": shape.video,
        "use_temporal_resblock": shape.video,
    }
    if shape.output:
        found["transformer_depth_output"] = [_depth(block) for block in reversed(shape.output)]
    return found


def _levels(blocks: tuple[BlockShape, ...]) -> list[list[tuple[int, int]]]:
    """Width and transformer depth of each residual block, by the size of the pictures that they see."""
    levels: list[list[tuple[int, int]]] = [[]]
    for block in blocks:
        kinds = {layer.kind for layer in block}
        if "down" in kinds:
            levels.append([])
        if "residual" in kinds:
            levels[-1].append((block[0].out, _depth(block)))
    return levels


def _times(width: int, first: int) -> float:
    return width // first if width % first == 0 else width / first


def _depth(block: BlockShape) -> int:
    return max((layer.depth for layer in block if layer.kind == "attention"), default=0)
