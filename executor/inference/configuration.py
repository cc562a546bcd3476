"""Configuration files that came beside checkpoints in 2022. Knows only what weights do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import yaml

from executor.errors import ModelFileError
from executor.inference.checkpoint import Checkpoint
from executor.inference.denoiser import discrete_v

PENULTIMATE = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a configuration says beyond sizes."""

    predicts_v: bool
    layer: int | None  # of the text encoder, counted from the end


def read_configuration(path: Path) -> Configuration:
    """What a file says; ModelFileError when it is no such configuration."""
    try:
        content = yaml.safe_load(path.read_text())
        parameters = content["model"]["params"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ModelFileError(path, "is no configuration of a Stable Diffusion checkpoint") from error
    text = cast("Mapping[str, object]", (parameters.get("cond_stage_config") or {}).get("params") or {})
    layer = PENULTIMATE if text.get("layer") == "penultimate" else None
    if text.get("layer") == "hidden" and isinstance(text.get("layer_idx"), int):
        layer = cast(int, text["layer_idx"])
        layer = layer if layer < 0 else None
    return Configuration(predicts_v=parameters.get("parameterization") == "v", layer=layer)


def configured(checkpoint: Checkpoint, configuration: Configuration) -> Checkpoint:
    """A checkpoint as its configuration says."""
    model, clip = checkpoint.model, checkpoint.clip
    if configuration.predicts_v:
        model = model.clone()
        model.add_object_patch("model_sampling", discrete_v())
    if configuration.layer is not None and clip is not None:
        clip = clip.clone().clip_layer(configuration.layer)
    return replace(checkpoint, model=model, clip=clip)
