"""One network's weights under sets of hooks: made from the pristine ones once, and kept while memory allows.

Switching from one set to another puts kept tensors into the module; nothing is added and subtracted, so nothing is
lost. What finds no room is made anew at every switch. Knows no conditioning.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from executor.inference.memory import get_weight
from executor.inference.patching import PatchSet, WeightPatch

if TYPE_CHECKING:
    from torch import nn

    from executor.inference.conditioning_hooks import Key
    from executor.inference.memory import Memory, Part

HookPatches: TypeAlias = Mapping[object, Mapping[str, list[WeightPatch]]]
"""Hook's reference → name of a weight in its module → changes at the hook's full strength."""


@dataclass(slots=True, kw_only=True)
class Shelf:
    """One set of hooks at their strengths, and its weights where they are kept."""

    patches: PatchSet
    touched: Set[str]  # names of the weights that the hooks change
    kept: Mapping[str, Tensor] = field(default_factory=dict)


class HookWeights:
    """The weights of a module under hooks, beside those without any."""

    def __init__(self, part: Part[nn.Module], memory: Memory, base: PatchSet, *, working_bytes: int = 0) -> None:
        """`base` are the changes that hold always; `working_bytes` stay free for what the module computes."""
        self.part, self.memory, self.working_bytes = part, memory, working_bytes
        self.keeps = True  # whether weights are kept at all
        self.base = Shelf(patches=base, touched=set())
        self.shelves: dict[Key, Shelf] = {}
        self.placement = part.placement
        part.let_go = self.forget

    def switch(self, key: Key, patches: HookPatches) -> None:
        """Let the module have its weights under these hooks at these strengths; () for none."""
        if self.part.placement != self.placement:  # it was moved: what is kept lies elsewhere
            self.forget()
        wanted = self._shelf(key, patches)
        if self.part.patches.id == wanted.patches.id:
            return
        names = {name for held in patches.values() for name in held} | self.base.patches.by_key.keys()
        if self.part.patches.id == self.base.patches.id and not self.base.kept:
            self.base.kept = self._present(names) if self._fits(names) else {}
        shared = {name: weight for name, weight in self.base.kept.items() if name not in wanted.touched}
        self.part.patch(wanted.patches, {**shared, **wanted.kept})
        if wanted is not self.base and not wanted.kept and self._fits(wanted.touched):
            wanted.kept = self._present(wanted.touched)

    def drop_stale(self, current: Set[tuple[object, float]]) -> None:
        """Forget the weights under hooks whose strengths have passed."""
        for key in [key for key in self.shelves if not current >= set(key)]:
            del self.shelves[key]

    def forget(self) -> None:
        """Keep nothing."""
        for shelf in (self.base, *self.shelves.values()):
            shelf.kept = {}
        self.placement = self.part.placement

    def restore(self) -> None:
        """Put the weights without hooks back and forget the others."""
        self.switch((), {})
        self.forget()
        self.part.let_go = None

    def _shelf(self, key: Key, patches: HookPatches) -> Shelf:
        if not key:
            return self.base
        if key not in self.shelves:
            by_key = {name: list(held) for name, held in self.base.patches.by_key.items()}
            touched: set[str] = set()
            for ref, strength in key:
                for name, held in patches.get(ref, {}).items():
                    at_strength = [patch._replace(strength=patch.strength * strength) for patch in held]
                    by_key.setdefault(name, []).extend(at_strength)
                    touched.add(name)
            if not touched:
                return self.base
            self.shelves[key] = Shelf(patches=PatchSet(by_key=by_key, id=uuid.uuid4()), touched=touched)
        return self.shelves[key]

    def _present(self, names: Set[str]) -> dict[str, Tensor]:
        return {name: get_weight(self.part.module, name) for name in names}

    def _fits(self, names: Set[str]) -> bool:
        """Whether one more copy of these weights leaves room enough."""
        held = (get_weight(self.part.module, name) for name in names)
        nbytes = sum(weight.numel() * weight.element_size() for weight in held)
        return self.keeps and self.memory.free() - self.working_bytes >= nbytes
