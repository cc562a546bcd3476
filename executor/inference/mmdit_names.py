"""The names that diffusers gives the layers of Stable Diffusion 3's transformer. Knows no values.

Diffusers has three layers where the original has one for queries, keys and values.
"""

from __future__ import annotations

from executor.inference.network import LayerPlace, halves_swapped, parts

TOP = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "proj_out": "final_layer.linear",
}
# of a block: diffusers' name → the original one
WHOLE = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
}
# the original name of three layers as one → the attention they are in and their names there, in the order of rows
PARTS = {
    "x_block.attn.qkv": ("attn", ("to_q", "to_k", "to_v")),
    "context_block.attn.qkv": ("attn", ("add_q_proj", "add_k_proj", "add_v_proj")),
    "x_block.attn2.qkv": ("attn2", ("to_q", "to_k", "to_v")),
}
LAST_TEXT = "norm1_context.linear"
"""In the last block it holds the original's halves in the other order, as `norm_out.linear` does."""


def diffusers_layers(depth: int, width: int) -> dict[str, LayerPlace]:
    """Diffusers' names of the layers of a transformer of so many blocks and this width → what they are here."""
    found = {theirs: LayerPlace(ours) for theirs, ours in TOP.items()}
    halves = (0, 0, 2 * width)
    found["norm_out.linear"] = LayerPlace("final_layer.adaLN_modulation.1", halves, halves_swapped)
    for number in range(depth):
        here, there = f"joint_blocks.{number}", f"transformer_blocks.{number}"
        found |= {f"{there}.{theirs}": LayerPlace(f"{here}.{ours}") for theirs, ours in WHOLE.items()}
        for ours, (attention, names) in PARTS.items():
            found |= parts(f"{there}.{attention}", names, f"{here}.{ours}", width)
    last = f"transformer_blocks.{depth - 1}.{LAST_TEXT}"
    found[last] = found[last]._replace(part=halves, change=halves_swapped)
    return found
