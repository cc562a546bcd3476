"""Which weight a LoRA file means by a name: kohya's, diffusers', OneTrainer's and others'. Knows no values.

All forms are brought to one: prefixes off, dots as underscores. Only whole names are compared, so underscores within
names cannot be mistaken for levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from executor.inference.network import DiffusionNetwork, LayerPlace

# the longest first, where one begins with another
DIFFUSION_PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "lora_transformer_",
    "lora_unet_",
    "lycoris_unet_",
    "lycoris_",
    "transformer.",
    "unet.",
)
# of each text encoder: names that mean it in every file, and names that mean it where it is the only one
OWN_PREFIXES = {
    "l": ("text_encoders.clip_l.transformer.", "clip_l.transformer.", "clip_l.", "lora_te1_", "text_encoder."),
    "g": ("text_encoders.clip_g.transformer.", "clip_g.transformer.", "clip_g.", "lora_te2_", "text_encoder_2."),
    "t5xxl": (
        "text_encoders.t5xxl.transformer.",
        "t5xxl.transformer.",
        "t5xxl.",
        "lora_te3_",
        "lora_te2_",
        "text_encoder_3.",
        "text_encoder_2.",  # diffusers calls T5 so where there is no CLIP-G; layers have other names than that one's
    ),
    "umt5xxl": ("text_encoders.umt5xxl.transformer.", "umt5xxl.transformer.", "umt5xxl.", "lora_te1_", "text_encoder."),
    "qwen25_7b": ("text_encoders.qwen25_7b.transformer.", "qwen25_7b.transformer.", "qwen25_7b.", "lora_te1_"),
    "h": ("text_encoders.clip_h.transformer.", "clip_h.transformer.", "clip_h."),
}
ONLY_PREFIXES = ("lora_te1_", "lora_te_", "lycoris_te_", "text_encoder.")
TEXT_PREFIXES = (*(prefix for own in OWN_PREFIXES.values() for prefix in own), "lora_te_", "lycoris_te_")
TEXT_WRAPPER = "text_model."
PROCESSOR = ".processor."
DIFFUSERS_OUT = "to_out_lora"


def plain(name: str) -> str:
    """A name with its levels run together."""
    return name.replace(".", "_")


def stem_of(key: str) -> str:
    """A weight's layer: its name without the kind of weight."""
    return key.rpartition(".")[0]


def diffusion_layers(network: DiffusionNetwork, keys: Iterable[str]) -> dict[str, LayerPlace]:
    """Every form of a network's layers' names, plain → what it means in the module."""
    own = {stem: LayerPlace(stem) for stem in map(stem_of, keys)}
    table: dict[str, LayerPlace] = {}
    for name, place in {**network.other_names(), **own}.items():
        table[plain(name)] = place
        if name.endswith(".to_out.0"):  # diffusers' attention processors have a layer where the original has a list
            table[plain(name.removesuffix(".0"))] = place
    return table


def text_prefixes(name: str, *, alone: bool) -> tuple[str, ...]:
    """What names of a text encoder's layers begin with; CLIP-L also has those that name none."""
    own = OWN_PREFIXES.get(name, ())
    return (*own, *(prefix for prefix in ONLY_PREFIXES if prefix not in own)) if alone or name == "l" else own


def text_layers(keys: Iterable[str]) -> dict[str, LayerPlace]:
    """Every form of a text encoder layer's name, plain → what it means in the module."""
    table: dict[str, LayerPlace] = {}
    for key in keys:
        stem = stem_of(key)
        place = table[plain(stem)] = table[plain(TEXT_WRAPPER + stem)] = LayerPlace(stem)
        # diffusers' oldest LoRAs call the projections as its UNet does
        for ours, old in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")):
            if stem.endswith(f"self_attn.{ours}"):
                table[plain(TEXT_WRAPPER + stem.removesuffix(ours) + old)] = place
    return table


def layer_named(name: str, prefixes: Iterable[str], layers: Mapping[str, LayerPlace]) -> LayerPlace | None:
    """The module's layer that a LoRA's name means, or None."""
    bare = name.replace(PROCESSOR, ".")
    for prefix in prefixes:
        if bare.startswith(prefix):
            found = layers.get(plain(bare[len(prefix) :]))
            if found is not None:
                return found
            bare = bare[len(prefix) :] if prefix == "base_model.model." else bare
    return layers.get(plain(bare))
