"""Operations on latents (LATENT_OPERATION), and the nodes that apply them to latents and within guidance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from executor.inference.guidance_parts import operated
from executor.inference.latent_filters import tone_mapped, with_sharp_directions
from executor.inference.values import Latent
from nodes.builtin.inputs import Entry, InputTypes, decimal, integer
from nodes.builtin.latent import with_samples

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_latent"
CATEGORY = "latent/advanced/operations"
Operation: TypeAlias = Callable[..., Tensor]
"""Called with `latent=` a tensor [B, C, ...], answers with another one; nodes of packs make them."""

OPERATION: Entry = ("LATENT_OPERATION", {})


class LatentApplyOperation:
    """Applies an operation to latents."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = CATEGORY
    DESCRIPTION = "Changes latents by an operation."
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "op"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": ("LATENT", {}), "operation": OPERATION}}

    def op(self, samples: Latent, operation: Operation) -> tuple[Latent]:
        """The changed latents; the given ones stay."""
        return (with_samples(samples, operation(latent=samples["samples"].clone())),)


class LatentApplyOperationCFG:
    """Applies an operation to what guidance pushes by, at each step."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = CATEGORY
    DESCRIPTION = "Changes the difference of positive and negative prediction by an operation."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {}), "operation": OPERATION}}

    def patch(self, model: ModelHandle, operation: Operation) -> tuple[ModelHandle]:
        """A clone with that guidance."""
        changed = model.clone()
        changed.set_model_sampler_pre_cfg_function(operated(lambda push: operation(latent=push)))
        return (changed,)


class LatentOperationTonemapReinhard:
    """Makes the operation that shortens the long cells of latents."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = CATEGORY
    DESCRIPTION = "Compresses the brightest cells (Reinhard's tone mapping)."
    RETURN_TYPES = ("LATENT_OPERATION",)
    FUNCTION = "op"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"multiplier": decimal(1.0, 0.0, 100.0)}}

    def op(self, multiplier: float) -> tuple[Operation]:
        """The operation; a greater `multiplier` compresses less."""
        return (partial(_tone_mapped, multiplier),)


class LatentOperationSharpen:
    """Makes the operation that sharpens latents."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = CATEGORY
    DESCRIPTION = "Sharpens the colours of latents and keeps their brightness."
    RETURN_TYPES = ("LATENT_OPERATION",)
    FUNCTION = "op"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "sharpen_radius": integer(9, 1, 31, step=1),
                "sigma": decimal(1.0, 0.1, 10.0, 0.1),
                "alpha": decimal(0.1, 0.0, 5.0),
            }
        }

    def op(self, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Operation]:
        """The operation; `sigma` is in parts of the radius."""
        return (partial(_sharpened, sharpen_radius, sigma, alpha),)


def _tone_mapped(multiplier: float, *, latent: Tensor, **_: object) -> Tensor:
    return tone_mapped(latent, multiplier)


def _sharpened(radius: int, sigma: float, alpha: float, *, latent: Tensor, **_: object) -> Tensor:
    return with_sharp_directions(latent, radius, sigma, alpha)


NODES = (
    LatentApplyOperation,
    LatentApplyOperationCFG,
    LatentOperationTonemapReinhard,
    LatentOperationSharpen,
)
