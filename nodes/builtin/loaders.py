"""Nodes that load model files. Know where a file lies, not what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.contract.definition import Assembled, FileChoices
from executor.contract.types import FileList
from nodes.builtin.inputs import Entry, InputTypes, choice, files
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.checkpoint import Checkpoint
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip
    from executor.inference.vae import Vae
    from executor.inference.vision import ClipVision

WEIGHT_TYPES = ("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")
TEXT_ENCODER_KINDS = (
    "stable_diffusion",
    "stable_cascade",
    "sd3",
    "stable_audio",
    "mochi",
    "ltxv",
    "pixart",
    "cosmos",
    "lumina2",
    "wan",
    "hidream",
    "chroma",
    "ace",
    "omnigen2",
    "qwen_image",
    "hunyuan_image",
)
TEXT_ENCODER_PAIRS = ("sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image")
PIXEL_SPACE = "pixel_space"
APPROXIMATE_NAMES = ("taesd", "taesdxl", "taesd3", "taef1")
APPROXIMATE = tuple(
    Assembled(name=name, source="vae_approx", starts=(f"{name}_encoder.", f"{name}_decoder."))
    for name in APPROXIMATE_NAMES
)
"""Small autoencoders: listed while both of their files are there."""
DIFFUSERS_INDEX = "model_index.json"


class CheckpointLoaderSimple:
    """Loads diffusion model, text model and VAE from one file."""

    DISPLAY_NAME = "Load Checkpoint"
    CATEGORY = "loaders"
    DESCRIPTION = "Loads a checkpoint: the diffusion model that draws, and the text model and VAE that came with it."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    OUTPUT_TOOLTIPS = (
        "The diffusion model, which takes noise out of latents.",
        "The text model, which reads prompts.",
        "The VAE, which turns pictures into latents and back.",
    )
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"ckpt_name": files("checkpoints", tooltip="The file to load.")}}

    def load_checkpoint(self, ckpt_name: str) -> tuple[ModelHandle, Clip | None, Vae | None]:
        """Load a checkpoint; ModelFileError when the file is missing or no checkpoint that can be loaded."""
        checkpoint = read_checkpoint(ckpt_name)
        return checkpoint.model, checkpoint.clip, checkpoint.vae


class CheckpointLoader:
    """Loads a checkpoint beside a configuration file of 2022."""

    DISPLAY_NAME = "Load Checkpoint With Config (DEPRECATED)"
    DEPRECATED = True
    CATEGORY = "advanced/loaders"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"config_name": files("configs"), "ckpt_name": files("checkpoints")}}

    def load_checkpoint(self, config_name: str, ckpt_name: str) -> tuple[ModelHandle, Clip | None, Vae | None]:
        """Load a checkpoint as its configuration says.

        Sizes come from the weights; of the configuration only the kind of prediction and the clip skip count.
        ModelFileError when a file is missing or no checkpoint that can be loaded.
        """
        from executor.inference.configuration import configured, read_configuration

        configuration = read_configuration(model_path("configs", config_name, "config_name"))
        checkpoint = configured(read_checkpoint(ckpt_name), configuration)
        return checkpoint.model, checkpoint.clip, checkpoint.vae


class DiffusersLoader:
    """Loads the parts of a model from a folder in diffusers' layout."""

    CATEGORY = "advanced/loaders/deprecated"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model_path": files("diffusers", content=DIFFUSERS_INDEX)}}

    def load_checkpoint(
        self, model_path: str, output_vae: bool = True, output_clip: bool = True
    ) -> tuple[ModelHandle, Clip | None, Vae | None]:
        """Load a folder; ModelFileError when it is missing or holds no model that can be loaded."""
        from executor.inference.diffusers_folder import load_folder

        folder = _model_path("diffusers", model_path, "model_path")
        here = services()
        checkpoint = load_folder(folder, here.memory, embedding_folders=here.folders.paths("embeddings"))
        return checkpoint.model, checkpoint.clip if output_clip else None, checkpoint.vae if output_vae else None


class unCLIPCheckpointLoader:  # noqa: N801  (the ecosystem's name)
    """Loads a checkpoint whose model is led by pictures, and the vision model that came with it."""

    CATEGORY = "loaders"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "CLIP_VISION")
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"ckpt_name": files("checkpoints")}}

    def load_checkpoint(
        self, ckpt_name: str, output_vae: bool = True, output_clip: bool = True
    ) -> tuple[ModelHandle, Clip | None, Vae | None, ClipVision | None]:
        """Load a checkpoint; ModelFileError when the file is missing or no checkpoint that can be loaded."""
        from executor.inference.vision import vision_of_checkpoint

        checkpoint = read_checkpoint(ckpt_name)
        vision = vision_of_checkpoint(checkpoint.file, services().memory)
        clip, vae = checkpoint.clip if output_clip else None, checkpoint.vae if output_vae else None
        return checkpoint.model, clip, vae, vision


class UNETLoader:
    """Loads a diffusion model from a file of its own."""

    DISPLAY_NAME = "Load Diffusion Model"
    CATEGORY = "advanced/loaders"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load_unet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"unet_name": files("diffusion_models"), "weight_dtype": choice(WEIGHT_TYPES)}}

    def load_unet(self, unet_name: str, weight_dtype: str = "default") -> tuple[ModelHandle]:
        """Load a model, with its weights rounded to 8 bits if asked; ModelFileError when that is impossible."""
        from executor.inference.checkpoint import load_diffusion_model

        path = model_path("diffusion_models", unet_name, "unet_name")
        return (load_diffusion_model(path, services().memory, weight_dtype=weight_dtype),)


class CLIPLoader:
    """Loads a text encoder from a file of its own."""

    DISPLAY_NAME = "Load CLIP"
    CATEGORY = "advanced/loaders"
    DESCRIPTION = "Loads one text encoder; the type says which diffusion model it is for."
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load_clip"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"clip_name": files("text_encoders"), "type": choice(TEXT_ENCODER_KINDS)},
            "optional": {"device": device_choice()},
        }

    def load_clip(self, clip_name: str, type: str = "stable_diffusion", device: str = "default") -> tuple[Clip]:
        """Load an encoder; ModelFileError when the file is missing, broken or of another kind."""
        return (read_text_encoders({"clip_name": clip_name}, type, device),)


class DualCLIPLoader:
    """Loads the two text encoders of a model that has two."""

    CATEGORY = "advanced/loaders"
    DESCRIPTION = "Loads two text encoders that work together; the type says which diffusion model they are for."
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load_clip"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "clip_name1": files("text_encoders"),
                "clip_name2": files("text_encoders"),
                "type": choice(TEXT_ENCODER_PAIRS),
            },
            "optional": {"device": device_choice()},
        }

    def load_clip(self, clip_name1: str, clip_name2: str, type: str, device: str = "default") -> tuple[Clip]:
        """Load both encoders; ModelFileError when a file is missing, broken or of another kind."""
        return (read_text_encoders({"clip_name1": clip_name1, "clip_name2": clip_name2}, type, device),)


class VAELoader:
    """Loads a VAE from a file of its own."""

    DISPLAY_NAME = "Load VAE"
    CATEGORY = "loaders"
    RETURN_TYPES = ("VAE",)
    FUNCTION = "load_vae"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        choices = FileChoices(source="vae", assembled=APPROXIMATE, after=(PIXEL_SPACE,))
        return {"required": {"vae_name": (FileList(choices),)}}

    def load_vae(self, vae_name: str) -> tuple[Vae]:
        """Load a VAE; ModelFileError when the file is missing, broken or no VAE that can be loaded."""
        from executor.inference.vae import load_vae, pixel_space

        memory = services().memory
        if vae_name == PIXEL_SPACE:
            return (pixel_space(memory),)
        if vae_name in APPROXIMATE_NAMES:
            from executor.inference.tiny_autoencoder import approximate_vae

            return (approximate_vae(services().folders, vae_name, memory),)
        return (load_vae(model_path("vae", vae_name, "vae_name"), memory),)


def device_choice() -> Entry:
    """Where a text encoder computes."""
    return choice(["default", "cpu"], advanced=True)


def read_checkpoint(name: str) -> Checkpoint:
    """The checkpoint of that name, chosen in the input `ckpt_name`."""
    from executor.inference.checkpoint import load_checkpoint

    here = services()
    path = model_path("checkpoints", name, "ckpt_name")
    return load_checkpoint(path, here.memory, embedding_folders=here.folders.paths("embeddings"))


def read_text_encoders(names: dict[str, str], kind: str, device: str) -> Clip:
    """The text encoder of these files (input → name) for a kind of model."""
    from executor.inference.text.loading import load_text_encoder

    here = services()
    paths = [model_path("text_encoders", name, field) for field, name in names.items()]
    folders = here.folders.paths("embeddings")
    return load_text_encoder(paths, kind, here.memory, embedding_folders=folders, on_cpu=device == "cpu")


_model_path = model_path  # DiffusersLoader has an input of that name

NODES = (
    CheckpointLoaderSimple,
    CheckpointLoader,
    DiffusersLoader,
    unCLIPCheckpointLoader,
    UNETLoader,
    CLIPLoader,
    DualCLIPLoader,
    VAELoader,
)
