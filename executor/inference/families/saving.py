"""Text encoders under the names that a family's checkpoints have. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.families.latent_diffusion import LatentDiffusion
from executor.inference.families.sd2 import SD2
from executor.inference.families.sd15 import SD15
from executor.inference.families.sdxl import SDXL, SDXL_REFINER
from executor.inference.families.svd import SVD
from executor.inference.text.clip_file import WRAPPER
from executor.inference.text.encoder import PROJECTION
from executor.inference.text.open_clip import original_names
from executor.inference.text.places import FLUX_TEXTS, QWEN_IMAGE_TEXTS, SD3_TEXTS, WAN_TEXTS, TextPlace
from executor.inference.vision_names import open_clip_names

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip
    from executor.inference.vision import ClipVision

WITH_VISION: tuple[LatentDiffusion, ...] = (SVD,)
SAVED: tuple[LatentDiffusion, ...] = (SD15, SD2, SDXL, SDXL_REFINER)
OPEN_CLIP_PREFIX = "model."
WHOLE: Mapping[str, Sequence[TextPlace]] = MappingProxyType(
    {"sd3": SD3_TEXTS, "flux": FLUX_TEXTS, "wan": WAN_TEXTS, "qwen_image": QWEN_IMAGE_TEXTS}
)
"""Families whose checkpoints hold text encoders under the names of the encoders' own files, and which."""


VAE, NEWER_VAE = "first_stage_model.", "vae."


def checkpoint_vae(family: str) -> str:
    """What the names of a VAE begin with in a family's checkpoints."""
    return NEWER_VAE if family in ("flux", "wan", "qwen_image") else VAE


def checkpoint_texts(family: str, clip: Clip) -> dict[str, Tensor]:
    """A CLIP's weights with its patches by the names in a family's checkpoints.

    Raises NodeInputError when the family has other text encoders, or none that can be saved.
    """
    if family in WHOLE:
        return whole_texts(WHOLE[family], clip)
    layout = next((each for each in SAVED if each.name == family), None)
    if layout is None:
        raise NodeInputError(f"models of the family {family!r} are not saved as whole checkpoints yet; save the parts")
    wanted, given = [text.kind.name for text in layout.texts], [encoder.name for encoder in clip.encoders]
    if wanted != given:
        names = ["CLIP-" + " and CLIP-".join(name.upper() for name in side) for side in (wanted, given)]
        raise NodeInputError(f"input 'clip': {layout.title} checkpoint holds {names[0]}; this text model is {names[1]}")
    weights = clip.get_sd()
    found: dict[str, Tensor] = {}
    for text, encoder in zip(layout.texts, clip.encoders, strict=True):
        own = {key: weights[encoder.weight_name(key)] for key in encoder.part.weights}
        if text.prefix.endswith(OPEN_CLIP_PREFIX):
            own = original_names(own)
        else:
            own = {key if key.startswith(PROJECTION) else WRAPPER + key: weight for key, weight in own.items()}
        found |= {text.prefix + key: weight for key, weight in own.items()}
    return found


def whole_texts(places: Sequence[TextPlace], clip: Clip) -> dict[str, Tensor]:
    """The weights of encoders that stand in such places; NodeInputError for others."""
    known = {place.kind.name: place for place in places}
    strange = [encoder.kind.title for encoder in clip.encoders if encoder.name not in known]
    if strange:
        titles = " and ".join(place.kind.title for place in places)
        raise NodeInputError(f"input 'clip': a checkpoint of this family holds {titles}; this is {strange[0]}")
    weights = clip.get_sd()
    found: dict[str, Tensor] = {}
    for encoder in clip.encoders:
        own = {name: weights[name] for name in map(encoder.weight_name, encoder.part.weights)} | encoder.beside()
        found |= {f"text_encoders.{name}": tensor for name, tensor in own.items()}
    return found


def checkpoint_vision(family: str, vision: ClipVision) -> dict[str, Tensor]:
    """A vision model's weights by the names in a family's checkpoints.

    Raises NodeInputError when the family's checkpoints hold none.
    """
    layout = next((each for each in WITH_VISION if each.name == family), None)
    if layout is None:
        raise NodeInputError(f"checkpoints of the family {family!r} hold no vision model; save the model by itself")
    return {layout.vision + name: tensor for name, tensor in open_clip_names(vision.get_sd()).items()}
