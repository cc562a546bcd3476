"""How the answers of several text encoders become one embedding and one pooled vector. Knows no encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from executor.inference.text.clip_model import Encoded

NOTHING = 77  # places of the embedding where no encoder read anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """A family's way; encoders are named as their tokens are. What an encoder does not give counts as zeros."""

    beside: tuple[str, ...]  # whose states stand side by side by channel
    behind: tuple[str, ...] = ()  # whose states follow along the tokens
    pools: tuple[str, ...] = ()  # whose pooled vectors stand side by side
    widths: Mapping[str, int] = field(default_factory=dict)  # channels that stand for what an encoder does not give
    width: int | None = None  # channels that all states are filled up to
    may_lack: bool = False  # whether some of the encoders may be missing, or have nothing to read

    def lacking(self, names: Sequence[str]) -> list[str]:
        """The encoders without which nothing can be joined, and which are not among these."""
        return [] if self.may_lack else [name for name in (*self.beside, *self.pools) if name not in names]

    def joined(self, answers: Mapping[str, Encoded]) -> Encoded:
        """One embedding [1, T, C] and one pooled vector [1, P]; states that stand beside are equally long."""
        rows = [answers[name].hidden for name in self.behind if name in answers]
        least = 0 if rows else self.width or 0  # what follows is as wide as all are to be
        if any(name in answers for name in self.beside):
            rows.insert(0, self._side_by_side(answers))
        if not rows:
            rows = [torch.zeros(1, NOTHING, least)]
        width = max(least, *(row.shape[-1] for row in rows))
        return Encoded(torch.cat([filled_up(row, width) for row in rows], dim=1), self._pooled(answers))

    def _side_by_side(self, answers: Mapping[str, Encoded]) -> Tensor:
        length = next(answers[name].hidden.shape[1] for name in self.beside if name in answers)
        states = [
            answers[name].hidden if name in answers else torch.zeros(1, length, self.widths[name])
            for name in self.beside
        ]
        return torch.cat(states, dim=-1)

    def _pooled(self, answers: Mapping[str, Encoded]) -> Tensor | None:
        vectors = []
        for name in self.pools:
            vector = answers[name].pooled if name in answers else torch.zeros(1, self.widths[name])
            if vector is not None:
                vectors.append(vector)
        return torch.cat(vectors, dim=-1) if vectors else None


def side_by_side(names: Sequence[str]) -> Joining:
    """All states side by side, and the last encoder's pooled vector."""
    return Joining(beside=tuple(names), pools=tuple(names[-1:]))


def filled_up(states: Tensor, width: int) -> Tensor:
    """States [1, T, C] with zeros behind their channels up to a width."""
    return torch.nn.functional.pad(states, (0, width - states.shape[-1]))


FLUX = Joining(beside=("t5xxl",), pools=("l",))
"""T5's states; CLIP-L tells the whole."""
SD3 = Joining(
    beside=("l", "g"), behind=("t5xxl",), pools=("l", "g"), widths={"l": 768, "g": 1280}, width=4096, may_lack=True
)
"""Both CLIPs' states and behind them T5's (Esser et al. 2024, arXiv:2403.03206, figure 2).

Widths are those of the published encoders.
"""
CHROMA = Joining(beside=("t5xxl",))
"""T5's states alone."""
WAN = Joining(beside=("umt5xxl",))
"""UMT5's states alone."""
QWEN_IMAGE = Joining(beside=("qwen25_7b",))
"""Qwen2.5-VL's states alone."""
