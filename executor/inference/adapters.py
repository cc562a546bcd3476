"""The ways in which files write down a change of a weight: LoRA and its kin, rotations, differences.

LoRA: Hu et al. 2021 (arXiv:2106.09685); LoHa, LoKr, LoCon: Yeh et al. 2023 (arXiv:2309.14859); DoRA: Liu et al. 2024
(arXiv:2402.09353); GLoRA: Chavan et al. 2023 (arXiv:2306.07967); OFT: Qiu et al. 2023 (arXiv:2306.07280); BOFT: Liu et
al. 2023 (arXiv:2311.06243). Knows neither names of weights nor files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from executor.errors import NodeInputError


class Adapter:
    """A change of a weight."""

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """The float32 weight with the change at a strength; RuntimeError when shapes do not go together."""
        raise RuntimeError("an adapter has to say what it changes")


@dataclass(frozen=True, slots=True)
class Difference(Adapter):
    """A tensor to add; of a larger one's shape the weight is filled up with zeros if `pads`."""

    delta: Tensor
    pads: bool = False

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """weight + strength * delta."""
        if strength == 0.0:
            return weight
        delta = on(self.delta, weight)
        if self.pads and delta.shape != weight.shape:
            larger = weight.new_zeros(delta.shape)
            larger[tuple(slice(0, side) for side in weight.shape)] = weight
            weight = larger
        if delta.shape != weight.shape:
            raise RuntimeError(f"the difference has shape {tuple(delta.shape)}")
        return weight + strength * delta


@dataclass(frozen=True, slots=True)
class Replacement(Adapter):
    """A tensor to take instead; strengths do not matter."""

    value: Tensor

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """The other tensor."""
        return on(self.value, weight).clone()


@dataclass(frozen=True, slots=True)
class TowardsModel(Adapter):
    """Another model's weight: at full strength the weight becomes it.

    The way starts at the weight, or at `origin`: the pristine one beneath other changes.
    """

    target: Tensor
    origin: Tensor | None = None

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """weight + strength * (target - origin)."""
        start = weight if self.origin is None else on(self.origin, weight)
        return weight + strength * (on(self.target, weight) - start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factored(Adapter):
    """A change that is stored as factors, with its scale and the magnitudes of a DoRA."""

    alpha: float | None = None
    magnitude: Tensor | None = None  # DoRA's, [out, 1, …] or [1, in, …]

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """weight + strength * scale * delta, or the way towards the weight with DoRA's magnitudes."""
        delta, rank = self.product(weight)
        scale = self.alpha / rank if self.alpha is not None and rank else 1.0
        delta = delta.reshape(weight.shape)
        if self.magnitude is None:
            return weight + (strength * scale) * delta
        target = with_magnitude(weight + scale * delta, on(self.magnitude, weight))
        return target if strength == 1.0 else weight + strength * (target - weight)

    def product(self, weight: Tensor) -> tuple[Tensor, int]:
        """The factors multiplied, in float32 on the weight's device, and the rank that scales it (0: none)."""
        raise RuntimeError("an adapter has to say how its factors are multiplied")


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank(Factored):
    """LoRA and LoCon: up [out, r] times down [r, in], with a core between for Tucker's form."""

    up: Tensor
    down: Tensor
    core: Tensor | None = None
    pads: bool = False  # whether a weight with fewer columns than `down` is filled up with zeros

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """As others, of a weight filled up where it may be."""
        more = self.down.shape[1] - weight.shape[1] if self.pads and weight.ndim == self.down.ndim == 2 else 0
        wide = torch.nn.functional.pad(weight, (0, more)) if more > 0 else weight
        return Factored.changed(self, wide, strength)

    def product(self, weight: Tensor) -> tuple[Tensor, int]:
        """up @ down; kernels are part of `down`, or of the core."""
        up, down = on(self.up, weight), on(self.down, weight)
        if self.core is not None:
            core = on(self.core, weight)
            return tucker(core, up.flatten(1), down.flatten(1)), self.down.shape[0]
        return up.flatten(1) @ down.flatten(1), self.down.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadamard(Factored):
    """LoHa: the product, place by place, of two low-rank matrices; cores for kernels."""

    left: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]
    cores: tuple[Tensor, Tensor] | None = None

    def product(self, weight: Tensor) -> tuple[Tensor, int]:
        """(a1 @ b1) * (a2 @ b2)."""
        pairs = [[on(factor, weight) for factor in pair] for pair in (self.left, self.right)]
        if self.cores is None:
            (a1, b1), (a2, b2) = pairs
            return (a1 @ b1) * (a2 @ b2), self.left[1].shape[0]
        first, second = (
            tucker(on(core, weight), a.transpose(0, 1), b) for core, (a, b) in zip(self.cores, pairs, strict=True)
        )
        return first * second, self.left[1].shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kronecker(Factored):
    """LoKr: the Kronecker product of two matrices, each whole or as factors; a core for kernels."""

    left: tuple[Tensor, ...]  # whole, or a and b
    right: tuple[Tensor, ...]
    core: Tensor | None = None

    def product(self, weight: Tensor) -> tuple[Tensor, int]:
        """left ⊗ right."""
        rank = next((pair[1].shape[0] for pair in (self.right, self.left) if len(pair) > 1), 0)
        left = whole(self.left, weight)
        if self.core is not None and len(self.right) > 1:
            a, b = (on(factor, weight) for factor in self.right)
            right = tucker(on(self.core, weight), a.transpose(0, 1), b)
        else:
            right = whole(self.right, weight)
        if right.ndim == 4:
            left = left.reshape(*left.shape[:2], 1, 1)
        return torch.kron(left, right.contiguous()), rank  # of a core's strides torch.kron makes no view


@dataclass(frozen=True, slots=True, kw_only=True)
class Generalised(Factored):
    """GLoRA: W A + B, with A = a1 a2 [in, in] and B = b1 b2 [out, in] of low rank; a core for kernels."""

    a: tuple[Tensor, Tensor]
    b: tuple[Tensor, Tensor]
    core: Tensor | None = None

    def product(self, weight: Tensor) -> tuple[Tensor, int]:
        """W A + B; factors that are listed the other way round are turned."""
        a1, a2 = upright([on(factor, weight).flatten(1) for factor in self.a], weight.shape[1])
        through = torch.einsum("oi...,ir,rj->oj...", weight, a1, a2)
        if self.core is not None:
            b1, b2 = (on(factor, weight).flatten(1) for factor in self.b)
            return through + tucker(on(self.core, weight), b1, b2), a1.shape[1]
        b1, b2 = upright([on(factor, weight).flatten(1) for factor in self.b], weight.shape[0])
        return through + (b1 @ b2).reshape(weight.shape), a1.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation(Adapter):
    """OFT and BOFT: outputs turned within blocks, by one factor or by several that cross (a butterfly).

    Each block is Cayley's transform of a skew-symmetric matrix, R = (I + Q)(I - Q)^-1 with Q = B - B^T. OFT's files
    hold blocks [n, b, b] and mean R^T, BOFT's [m, n, b, b] and mean R, both as LyCORIS reads its own.
    """

    blocks: Tensor
    rescale: Tensor | None = None  # of each output, [out, 1, …]
    bound: float | None = None  # of all Q together, per output

    def changed(self, weight: Tensor, strength: float) -> Tensor:
        """The weight turned; in between, every factor is mixed with standing still."""
        turns = cayley(on(self.blocks, weight), (self.bound or 0.0) * weight.shape[0])
        standing = torch.eye(turns.shape[-1], device=weight.device)
        turns = strength * turns + (1.0 - strength) * standing
        if turns.ndim == 3:
            rows = weight.reshape(*turns.shape[:2], *weight.shape[1:])
            turned = torch.einsum("kba,kb...->ka...", turns, rows).flatten(0, 1)
        else:
            turned = self._butterfly(turns, weight)
        if self.rescale is None:
            return turned
        lengths = on(self.rescale, weight).reshape(-1, *(1,) * (weight.ndim - 1))
        return turned * (1.0 + strength * (lengths - 1.0))

    def _butterfly(self, turns: Tensor, weight: Tensor) -> Tensor:
        """Factor i turns blocks of outputs that lie 2^i halves of a block apart."""
        half, inputs = turns.shape[-1] // 2, weight.shape[1:]
        for place, factor in enumerate(turns):
            apart = 2**place * half
            paired = weight.reshape(-1, 2, apart, *inputs).transpose(1, 2)
            turned = torch.einsum("kab,kb...->ka...", factor, paired.reshape(*factor.shape[:2], *inputs))
            weight = turned.reshape(-1, apart, 2, *inputs).transpose(1, 2).flatten(0, 2)
        return weight


def upright(factors: Sequence[Tensor], rows: int) -> Sequence[Tensor]:
    """Two factors in the order of their product [rows, …]: older files list them the other way round."""
    first, second = factors
    fits = first.shape[0] == rows and first.shape[1] == second.shape[0]
    return factors if fits else (second, first)


def cayley(blocks: Tensor, bound: float) -> Tensor:
    """Rotations [..., b, b] of blocks; `bound` is the largest norm of all of them together (0: none)."""
    skew = blocks - blocks.transpose(-1, -2)
    if bound > 0 and (norm := float(skew.norm())) > bound:
        skew = skew * (bound / norm)
    standing = torch.eye(skew.shape[-1], device=skew.device)
    rotations: Tensor = torch.linalg.solve(standing - skew, standing + skew, left=False)
    return rotations


def on(tensor: Tensor, weight: Tensor) -> Tensor:
    """A factor in float32 on the device of a weight."""
    return tensor.to(device=weight.device, dtype=torch.float32)


def whole(factors: Sequence[Tensor], weight: Tensor) -> Tensor:
    """A matrix given whole or as two factors."""
    first = on(factors[0], weight)
    return first if len(factors) == 1 else first @ on(factors[1], weight)


def tucker(core: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A kernel [out, in, h, w] of a core [p, q, h, w] (p of the output, q of the input), up [out, p], down [q, in]."""
    kernel: Tensor = torch.einsum("pqhw,op,qi->oihw", core, up, down)
    return kernel


def with_magnitude(direction: Tensor, magnitude: Tensor) -> Tensor:
    """A weight of other magnitudes: per output where they are listed so, else per input."""
    norms: Tensor
    if magnitude.shape[0] == direction.shape[0] and magnitude.numel() == direction.shape[0]:
        norms = direction.flatten(1).norm(dim=1).reshape(-1, *(1 for _ in direction.shape[1:]))
    else:
        norms = direction.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *(1 for _ in direction.shape[2:]))
    smallest = torch.finfo(torch.float32).eps
    return direction * (magnitude.reshape(norms.shape) / (norms + smallest))


def adapter_of(value: object, key: str) -> Adapter:
    """The adapter that a pack's tuple stands for; NodeInputError for one of an unknown kind."""
    if isinstance(value, tuple) and len(value) == 1:
        return Difference(cast(Tensor, value[0]))
    if isinstance(value, tuple) and len(value) == 2 and value[0] in FROM_PARTS:
        return FROM_PARTS[value[0]](value[1])
    kind = value[0] if isinstance(value, tuple) and value else type(value).__name__
    known = ", ".join(FROM_PARTS)
    raise NodeInputError(f"the patch of {key} is of the kind {kind!r}; known are: {known}")


def _difference(parts: Sequence[object]) -> Adapter:
    options = cast("Mapping[str, object]", parts[1]) if len(parts) > 1 else {}
    return Difference(cast(Tensor, parts[0]), pads=bool(options.get("pad_weight")))


def _tensor(parts: Sequence[object], place: int) -> Tensor | None:
    return cast("Tensor | None", parts[place]) if len(parts) > place else None


def _low_rank(parts: Sequence[object]) -> Adapter:
    up, down = cast("tuple[Tensor, Tensor]", tuple(parts[:2]))
    alpha = cast("float | None", parts[2]) if len(parts) > 2 else None
    return LowRank(up=up, down=down, alpha=alpha, core=_tensor(parts, 3), magnitude=_tensor(parts, 4))


def _hadamard(parts: Sequence[object]) -> Adapter:
    a1, b1, alpha, a2, b2 = cast("tuple[Tensor, Tensor, float | None, Tensor, Tensor]", tuple(parts[:5]))
    core1, core2 = _tensor(parts, 5), _tensor(parts, 6)
    cores = None if core1 is None or core2 is None else (core1, core2)
    return Hadamard(left=(a1, b1), right=(a2, b2), alpha=alpha, cores=cores, magnitude=_tensor(parts, 7))


def _kronecker(parts: Sequence[object]) -> Adapter:
    w1, w2, alpha = parts[0], parts[1], cast("float | None", parts[2])
    left = (w1,) if w1 is not None else (parts[3], parts[4])
    right = (w2,) if w2 is not None else (parts[5], parts[6])
    return Kronecker(
        left=cast("tuple[Tensor, ...]", left),
        right=cast("tuple[Tensor, ...]", right),
        alpha=alpha,
        core=_tensor(parts, 7),
        magnitude=_tensor(parts, 8),
    )


def _generalised(parts: Sequence[object]) -> Adapter:
    a1, a2, b1, b2 = cast("tuple[Tensor, Tensor, Tensor, Tensor]", tuple(parts[:4]))
    alpha = cast("float | None", parts[4]) if len(parts) > 4 else None
    return Generalised(a=(a1, a2), b=(b1, b2), alpha=alpha, magnitude=_tensor(parts, 5))


def _rotation(parts: Sequence[object]) -> Adapter:
    bound = cast("float | None", parts[2]) if len(parts) > 2 else None
    return Rotation(blocks=cast(Tensor, parts[0]), rescale=_tensor(parts, 1), bound=bound)


FROM_PARTS: Mapping[str, Callable[[Sequence[object]], Adapter]] = {
    "diff": _difference,
    "set": lambda parts: Replacement(cast(Tensor, parts[0])),
    "model_as_lora": lambda parts: TowardsModel(cast(Tensor, parts[0])),
    "lora": _low_rank,
    "loha": _hadamard,
    "lokr": _kronecker,
    "glora": _generalised,
    "oft": _rotation,
    "boft": _rotation,
}
"""The kinds of tuples that packs hand in → what they stand for."""
