"""Names of a MODEL that packs use and that mean little here, because weights are patched and moved by Weft itself.

Names and arguments are the ecosystem's (reference/custom_node_surface.md, "Object protocols").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from executor.inference import patching
from executor.inference.wrappers import ON_CLEANUP, ON_PRE_RUN

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle


class PatcherNames:
    """What packs ask of a patcher beside options, patches and attachments."""

    weight_inplace_update = False
    force_cast_weights = False
    is_injected = False

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return _handle(self).model_size()

    @property
    def backup(self) -> dict[str, Tensor]:
        """Weights as they were before patches: none are kept, the files have them."""
        return {}

    @property
    def object_patches_backup(self) -> dict[str, object]:
        """Objects as they were before patches: none are kept here."""
        return {}

    def lowvram_patch_counter(self) -> int:
        """How many weights are patched at each call: not counted."""
        return 0

    def model_patches_models(self) -> list[object]:
        """Models that patches hold: those that packs registered."""
        return _handle(self).get_nested_additional_models()

    def partially_load(self, device_to: torch.device, extra_memory: int = 0, force_patch_weights: bool = False) -> int:
        """Load it, as much as the device takes; bytes that are there then."""
        _handle(self).load()
        return _handle(self).loaded_size()

    def partially_unload(self, device_to: torch.device, memory_to_free: int = 0) -> int:
        """Give its weights' memory back; the bytes that were freed."""
        freed = _handle(self).loaded_size()
        _handle(self).model.part.release()
        return freed

    def calculate_weight(
        self, patches: Sequence[object], weight: Tensor, key: str, intermediate_dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """A weight after patches; what packs replaced `comfy.lora.calculate_weight` by counts."""
        return patching.calculate_weight(patches, weight, key, intermediate_dtype)  # type: ignore[arg-type]

    def pre_run(self) -> None:
        """Tell those who want to know that a sampling begins."""
        _handle(self)._call_back(ON_PRE_RUN)

    def cleanup(self) -> None:
        """Tell those who want to know that a sampling is over."""
        _handle(self)._call_back(ON_CLEANUP)

    @contextmanager
    def use_ejected(self, skip_and_inject_on_exit_only: bool = False) -> Iterator[None]:
        """Its injections taken out for the time of a with block."""
        if not skip_and_inject_on_exit_only:
            _handle(self).eject_model()
        try:
            yield
        finally:
            _handle(self).inject_model()


def _handle(names: PatcherNames) -> ModelHandle:
    return cast("ModelHandle", names)
