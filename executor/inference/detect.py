"""Finds the family of a weight file, or says what else it looks like. Builds nothing."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.families.base import Detection, Family
from executor.inference.weights import WeightFile

# (a part of a tensor's name, what a file with it is, what to do with it); the first that is found counts
FOREIGN: tuple[tuple[str, str, str], ...] = (
    ("lora_down", "a LoRA", "it belongs into models/loras"),
    ("lora_A", "a LoRA", "it belongs into models/loras"),
    (".hada_w1", "a LoRA (LoHa)", "it belongs into models/loras"),
    (".lokr_w1", "a LoRA (LoKr)", "it belongs into models/loras"),
    ("control_model.", "a ControlNet", "it belongs into models/controlnet"),
    ("controlnet_cond_embedding", "a ControlNet", "it belongs into models/controlnet"),
    ("emb_params", "a textual-inversion embedding", "it belongs into models/embeddings"),
    ("string_to_param", "a textual-inversion embedding", "it belongs into models/embeddings"),
    (".time_stack.", "a Stable Video Diffusion model", ""),
    ("noise_augmentor.", "an unCLIP checkpoint of Stable Diffusion 2.1", ""),
    ("cc_projection.", "a Zero123 checkpoint", ""),
    ("conditioner.embedders.1.", "an SDXL checkpoint", ""),
    ("conditioner.embedders.0.open_clip", "a Stable Video Diffusion checkpoint", ""),
    ("conditioner.embedders.0.model", "an SDXL refiner checkpoint", ""),
    ("cond_stage_model.model.", "a Stable Diffusion 2.x checkpoint", ""),
    ("joint_blocks.", "a Stable Diffusion 3 model", "it belongs into models/diffusion_models"),
    ("img_attn_qkv.", "a Hunyuan Video model", ""),
    ("distilled_guidance_layer.", "a Chroma model", ""),
    ("double_stream_modulation_img.", "a Flux.2 model", ""),
    ("double_blocks.", "a Flux model", ""),
    ("blocks.0.cross_attn.norm_k", "a Wan model", ""),
    ("motion_modules.", "an AnimateDiff motion module", ""),
    ("to_k_ip.", "an IP-Adapter", ""),
    ("position_net.", "a GLIGEN model", "it belongs into models/gligen"),
    ("effnet_mapper.", "a Stable Cascade model", ""),
    ("scale_shift_table", "a diffusion transformer (PixArt, LTX)", ""),
    ("model.diffusion_model.", "a diffusion checkpoint", ""),
    ("transformer_blocks.0.img_mod.", "a Qwen-Image model", "it belongs into models/diffusion_models"),
    ("model.layers.0.", "a language model", ""),
    ("lm_head.", "a language model", ""),
    ("transformer.h.0.", "a language model", ""),
    ("image_encoder.blocks.", "a Segment Anything model", ""),
    (".dfl.conv.", "a YOLO detector", ""),
    ("input_blocks.", "a diffusion model without text encoder and VAE", "it belongs into models/diffusion_models"),
    ("down_blocks.0.resnets", "a model in diffusers' folder layout", "the single-file form fits here"),
    ("decoder.up.", "a VAE without a diffusion model", "it belongs into models/vae"),
    ("vision_model.", "a CLIP vision model", "it belongs into models/clip_vision"),
    ("text_model.", "a CLIP text encoder", "it belongs into models/text_encoders"),
    ("encoder.block.0.layer.0", "a T5 text encoder", "it belongs into models/text_encoders"),
    ("body.0.rdb1", "an upscaling model", "it belongs into models/upscale_models"),
    ("conv_first.", "an upscaling model", "it belongs into models/upscale_models"),
    ("model.1.sub.", "an upscaling model", "it belongs into models/upscale_models"),
    ("taesd_decoder.", "a small VAE (TAESD)", "it belongs into models/vae_approx"),
)


def detect(file: WeightFile, families: Sequence[Family]) -> tuple[Family, Detection]:
    """The family a file is of, with the sizes read from it.

    Raises ModelFileError saying what the file looks like and which families there are.
    """
    for family in families:
        if detection := family.detect(file):
            return family, detection
    what, advice = describe(file.tensors)
    known = ", ".join(family.name for family in families)
    loads = f"this version loads checkpoints of these families: {known}"
    raise ModelFileError(file.path, f"looks like {what}", f"{advice}; {loads}" if advice else loads)


def describe(tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """What a file's tensor names look like, and advice where there is any."""
    for mark, what, advice in FOREIGN:
        if any(mark in name for name in tensors):
            return what, advice
    return f"nothing known ({len(tensors)} tensors, the first is {next(iter(tensors), 'none')!r})", ""
