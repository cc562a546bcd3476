"""Names of Wan's layers in diffusers' form. Knows no values."""

from __future__ import annotations

from executor.inference.network import LayerPlace

TOP = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "proj_out": "head.head",
}
BLOCK = {
    **{f"attn1.to_{part}": f"self_attn.{part}" for part in "qkv"},
    **{f"attn2.to_{part}": f"cross_attn.{part}" for part in "qkv"},
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_out.0": "cross_attn.o",
    "attn1.norm_q": "self_attn.norm_q",
    "attn1.norm_k": "self_attn.norm_k",
    "attn2.norm_q": "cross_attn.norm_q",
    "attn2.norm_k": "cross_attn.norm_k",
    "attn2.add_k_proj": "cross_attn.k_img",
    "attn2.add_v_proj": "cross_attn.v_img",
    "attn2.norm_added_k": "cross_attn.norm_k_img",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "norm2": "norm3",
    "proj_in": "before_proj",
    "proj_out": "after_proj",
}


def wan_names(blocks: int, vace_blocks: int) -> dict[str, LayerPlace]:
    """diffusers' names → the original layers of a network of so many blocks."""
    names = {theirs: LayerPlace(ours) for theirs, ours in TOP.items()}
    for kind, count in (("blocks", blocks), ("vace_blocks", vace_blocks)):
        for number in range(count):
            place = f"{kind}.{number}"
            names |= {f"{place}.{theirs}": LayerPlace(f"{place}.{ours}") for theirs, ours in BLOCK.items()}
    return names
