"""Names of Flux.1's layers elsewhere: diffusers', where several of its layers are one of the original, and XLabs'."""

from __future__ import annotations

from executor.inference.network import LayerPlace, halves_swapped, parts

TOP = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "proj_out": "final_layer.linear",
}
DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
SINGLE = {"norm.linear": "modulation.lin", "proj_out": "linear2"}
XLABS = ("qkv", "proj")
PICTURE_PARTS, TEXT_PARTS = ("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")


def flux_names(double_blocks: int, single_blocks: int, width: int, inner: int) -> dict[str, LayerPlace]:
    """diffusers' names → the original layers, or the rows of them that they are."""
    names = {theirs: LayerPlace(ours) for theirs, ours in TOP.items()}
    names["norm_out.linear"] = LayerPlace("final_layer.adaLN_modulation.1", (0, 0, 2 * width), halves_swapped)
    for number in range(double_blocks):
        theirs, ours = f"transformer_blocks.{number}", f"double_blocks.{number}"
        names |= {f"{theirs}.{name}": LayerPlace(f"{ours}.{layer}") for name, layer in DOUBLE.items()}
        names |= parts(f"{theirs}.attn", PICTURE_PARTS, f"{ours}.img_attn.qkv", width)
        names |= parts(f"{theirs}.attn", TEXT_PARTS, f"{ours}.txt_attn.qkv", width)
    for number in range(single_blocks):
        theirs, ours = f"single_transformer_blocks.{number}", f"single_blocks.{number}"
        names |= {f"{theirs}.{name}": LayerPlace(f"{ours}.{layer}") for name, layer in SINGLE.items()}
        names |= parts(f"{theirs}.attn", PICTURE_PARTS, f"{ours}.linear1", width)
        names[f"{theirs}.proj_mlp"] = LayerPlace(f"{ours}.linear1", (0, 3 * width, inner))
    return names


def xlabs_names(double_blocks: int, single_blocks: int, width: int) -> dict[str, LayerPlace]:
    """The names that XLabs' LoRAs call attentions by, which stand in processors beside them there."""
    names: dict[str, LayerPlace] = {}
    for number in range(double_blocks):
        block = f"double_blocks.{number}"
        for side, attention in ((1, "img_attn"), (2, "txt_attn")):
            names |= {f"{block}.{layer}_lora{side}": LayerPlace(f"{block}.{attention}.{layer}") for layer in XLABS}
    for number in range(single_blocks):
        block = f"single_blocks.{number}"
        names[f"{block}.qkv"] = LayerPlace(f"{block}.linear1", (0, 0, 3 * width))
        names[f"{block}.proj"] = LayerPlace(f"{block}.linear2")
    return names
