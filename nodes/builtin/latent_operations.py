"""The node that applies an operation (LATENT_OPERATION) to latents. Knows no operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from executor.inference.values import Latent
from nodes.builtin.inputs import Entry, InputTypes
from nodes.builtin.latent import with_samples

Operation: TypeAlias = Callable[..., Tensor]
"""Called with `latent=` a tensor [B, C, ...], answers with another one; nodes of packs make them."""

OPERATION: Entry = ("LATENT_OPERATION", {})


class LatentApplyOperation:
    """Applies an operation to latents."""

    PACK = "comfy_extras.nodes_latent"
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "latent/advanced/operations"
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


NODES = (LatentApplyOperation,)
