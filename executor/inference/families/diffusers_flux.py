"""Flux.1's networks in diffusers' names, brought to the original ones: some of their layers are joined to one there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from executor.inference.families.ldm_unet import count_under
from executor.inference.flux_names import flux_names
from executor.inference.fused_layers import original_tensors
from executor.inference.weights import WeightFile

MARKS = ("single_transformer_blocks.0.proj_mlp.weight", "transformer_blocks.0.attn.add_q_proj.weight")
PREFIXES = ("transformer.", "")
DOUBLE_NORMS = {"norm_q": "img_attn.norm.query_norm", "norm_k": "img_attn.norm.key_norm"} | {
    "norm_added_q": "txt_attn.norm.query_norm",
    "norm_added_k": "txt_attn.norm.key_norm",
}
SINGLE_NORMS = {"norm_q": "norm.query_norm", "norm_k": "norm.key_norm"}


def original_flux(file: WeightFile) -> WeightFile:
    """A file whose network is Flux.1 in diffusers' names, as one in the original names; any other as it is.

    What is not in the file is left for those to tell who build the network.
    """
    prefix = next((each for each in PREFIXES if all(each + mark in file.tensors for mark in MARKS)), None)
    if prefix is None:
        return file
    theirs = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    if "x_embedder.weight" not in theirs or "transformer_blocks.0.ff.net.0.proj.weight" not in theirs:
        return file
    tensors = {**joined(theirs), **dict(norms(theirs))}
    return WeightFile(path=file.path, tensors=tensors, metadata=file.metadata)


def joined(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The layers' tensors by their original names, rows of one below each other."""
    blocks = count_under(theirs, "transformer_blocks."), count_under(theirs, "single_transformer_blocks.")
    width = theirs["x_embedder.weight"].shape[0]
    inner = theirs["transformer_blocks.0.ff.net.0.proj.weight"].shape[0]
    return original_tensors(theirs, flux_names(*blocks, width, inner))


def norms(theirs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The scales of queries and keys by their original names."""
    for name, tensor in theirs.items():
        kind, _, rest = name.partition(".")
        number, _, inside = rest.partition(".")
        layer = inside.removeprefix("attn.").removesuffix(".weight")
        if kind == "transformer_blocks" and layer in DOUBLE_NORMS:
            yield f"double_blocks.{number}.{DOUBLE_NORMS[layer]}.scale", tensor
        elif kind == "single_transformer_blocks" and layer in SINGLE_NORMS:
            yield f"single_blocks.{number}.{SINGLE_NORMS[layer]}.scale", tensor
