"""Blocks of transformers, which packs may take the place of by kind and number. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor, nn

from executor.inference.hooks import Options


def double(
    block: nn.Module,
    number: int,
    img: Tensor,
    txt: Tensor,
    vec: Tensor,
    pe: Tensor | None,
    mask: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """Picture and text after a block of both, or after what a pack put in its place."""
    own = replaced(options, "double_block", number)

    def original(given: Mapping[str, object]) -> dict[str, Tensor]:
        names = ("img", "txt", "vec", "pe", "attn_mask")
        out = block(**{name: given.get(name) for name in names}, transformer_options=options)
        return {"img": out[0], "txt": out[1]}

    given = {"img": img, "txt": txt, "vec": vec, "pe": pe, "attn_mask": mask}
    if own is None:
        found = original(given)
    else:
        found = own({**given, "transformer_options": options}, {"original_block": original})
    return found["img"], found.get("txt", txt)


def replaced(options: Options, kind: str, number: int) -> Callable[..., dict[str, Tensor]] | None:
    """What a pack put in a block's place; the options tell which block runs."""
    options["block"] = (kind, number)
    options["block_type"], options["block_index"] = kind.removesuffix("_block"), number
    tables = cast("Mapping[str, Mapping[object, Callable[..., dict[str, Tensor]]]]", options.get("patches_replace"))
    return ((tables or {}).get("dit") or {}).get((kind, number))
