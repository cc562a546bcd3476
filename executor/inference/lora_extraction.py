"""LoRAs made of differences of weights: the nearest factors of a rank. Knows no files.

The best approximation of a matrix by one of rank r is the first r parts of its singular value decomposition (Eckart &
Young 1936, doi:10.1007/BF02288367).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from executor import context

Form = Literal["standard", "full_diff"]
STORED = torch.float16


def extracted(differences: Mapping[str, Tensor], rank: int, form: Form, *, biases: bool) -> dict[str, Tensor]:
    """The tensors of a LoRA file for differences by their weights' names; weights that do not differ are left out.

    `standard` stores factors of at most `rank`, `full_diff` whole differences; biases and the weights of norms, which
    have no factors, are stored whole if `biases`. Raises Interrupted between weights.
    """
    found: dict[str, Tensor] = {}
    for done, (name, difference) in enumerate(differences.items()):
        context.current().progress(done, len(differences))
        stem, _, kind = name.rpartition(".")
        if not difference.is_floating_point() or not difference.any():
            continue
        if difference.ndim < 2:
            if biases and kind in ENDINGS:
                found[f"{stem}{ENDINGS[kind]}"] = difference.to(STORED)
        elif form == "full_diff":
            found[f"{stem}.diff"] = difference.to(STORED)
        else:
            found |= {f"{stem}.{part}.weight": tensor for part, tensor in factors(difference, rank)}
    return found


ENDINGS = {"weight": ".diff", "bias": ".diff_b"}


def factors(difference: Tensor, rank: int) -> Iterator[tuple[str, Tensor]]:
    """`lora_up` [out, r] (of a kernel [out, r, 1, 1]) and `lora_down` [r, in, …], whose product is nearest.

    The singular values are shared between both, so that neither leaves the range of half precision.
    """
    left, sizes, right = torch.linalg.svd(difference.flatten(1).float(), full_matrices=False)
    rank = min(rank, len(sizes))
    roots = sizes[:rank].sqrt()
    up, down = left[:, :rank] * roots, right[:rank] * roots[:, None]
    ones = (1,) * (difference.ndim - 2)
    yield "lora_up", up.reshape(len(up), rank, *ones).to(STORED).contiguous()
    yield "lora_down", down.reshape(rank, *difference.shape[1:]).to(STORED).contiguous()
