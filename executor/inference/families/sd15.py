"""Stable Diffusion 1.x single files at any width and depth (Rombach et al. 2022, arXiv:2112.10752).

The UNet is diffusers' UNet2DConditionModel, the autoencoder its encoder and decoder, the text model our own. Sizes
come from the shapes of the tensors. What shapes do not tell follows SD1.5 (8 UNet heads, text heads of width 64,
gcd(32, channels) norm groups) unless the file's `weft.config` metadata says it:
{"unet": {"heads": 8, "norm_groups": "gcd32"}, "text": {"heads": 4}}.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference import latent_formats
from executor.inference.denoiser import ModelSampling, discrete_eps
from executor.inference.families.base import Detection, Parts, build_part
from executor.inference.families.ldm_unet import UNetShape, build_unet, read_unet_shape, unet_key
from executor.inference.families.ldm_vae import read_vae_shape, vae_key
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import most_common_dtype
from executor.inference.text.clip_model import ClipShape, ClipTextModel
from executor.inference.vae_model import ImageAutoencoder, VaeShape
from executor.inference.weights import CONFIG_KEY, WeightFile

PREFIXES = {
    "diffusion": "model.diffusion_model.",
    "text": "cond_stage_model.transformer.",
    "vae": "first_stage_model.",
}
# the innermost wrapper of the text model's names; files from before 2023 may lack it
TEXT_WRAPPER = "text_model."
Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sd15Config:
    """Sizes of the three parts."""

    unet: UNetShape
    text: ClipShape
    vae: VaeShape


@dataclass(frozen=True, slots=True)
class Sd15:
    """The family of SD1.x files."""

    name: str = "sd15"
    latent_format: LatentFormat = latent_formats.SD15

    def sampling(self) -> ModelSampling:
        """Noise prediction over the 1000 levels of the training."""
        return discrete_eps()

    def detect(self, file: WeightFile) -> Detection | None:
        """The sizes of an SD1.x file; None for files of other layouts.

        Raises ModelFileError when a part is missing or a kind that this version does not run.
        """
        names = file.tensors
        if f"{PREFIXES['diffusion']}input_blocks.0.0.weight" not in names or is_other_unet(names):
            return None
        missing = [part for part, prefix in PREFIXES.items() if not any(name.startswith(prefix) for name in names)]
        if missing:
            fits = "a checkpoint that holds the UNet, the text encoder and the VAE fits here"
            raise ModelFileError(file.path, f"looks like SD1.x without its {' and '.join(missing)} part", fits)
        config = read_config(file)
        if config.unet.in_channels != self.latent_format.channels:
            reason = f"is an SD1.x model of {config.unet.in_channels} input channels (inpainting or editing)"
            raise ModelFileError(file.path, reason, "this version runs those of 4")
        dtype = most_common_dtype(below(names, PREFIXES["diffusion"]))
        return Detection(family=self.name, config=config, dtype=dtype, prefixes=PREFIXES)

    def build(self, file: WeightFile, detection: Detection) -> Parts:
        """The UNet, text model and autoencoder of a detected file, weights mapped.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        config = detection.config
        assert isinstance(config, Sd15Config)  # detect() made it
        unet, text, vae = unet_names(file, config.unet), text_names(file), vae_names(file, config.vae)
        return Parts(
            diffusion=build_part(file, "UNet", "diffusion", lambda: build_unet(config.unet), unet),
            text=build_part(file, "text encoder", "text", lambda: ClipTextModel(config.text), text),
            vae=build_part(file, "VAE", "vae", lambda: ImageAutoencoder(config.vae), vae),
            width=2 * config.unet.widths[0],  # the last level joins its input with a skip
        )


SD15 = Sd15()


def is_other_unet(names: Mapping[str, Tensor]) -> bool:
    """Whether the UNet is SDXL's or SD2's: a label embedding, or another text encoder beside it."""
    others = (f"{PREFIXES['diffusion']}label_emb.", "conditioner.", "cond_stage_model.model.")
    return any(name.startswith(others) for name in names)


def read_config(file: WeightFile) -> Sd15Config:
    """Sizes of all parts from the shapes and the header's `weft.config`.

    Raises ModelFileError naming the tensor that is missing, or the setting that cannot be.
    """
    parts = {part: below(file.tensors, prefix) for part, prefix in PREFIXES.items()}
    unet_heads, text_heads = configured_heads(file, "unet"), configured_heads(file, "text")
    unet = read_shape(file, "UNet", lambda: read_unet_shape(parts["diffusion"], unet_heads))
    text = read_shape(file, "text encoder", lambda: read_text_shape(unwrapped(parts["text"]), text_heads))
    vae = read_shape(file, "VAE", lambda: read_vae_shape(parts["vae"]))
    if text.width != unet.context:
        reason = f"its text encoder gives width {text.width} and its UNet takes {unet.context}"
        raise ModelFileError(file.path, reason)
    for width, heads in (*zip(unet.widths, unet.heads, strict=True), (text.width, text.heads)):
        if width % heads:
            raise ModelFileError(file.path, f"{heads} attention heads do not divide its width {width}")
    return Sd15Config(unet=unet, text=text, vae=vae)


def read_shape(file: WeightFile, what: str, read: Callable[[], Shape]) -> Shape:
    """A part's sizes; a tensor that is not there becomes a ModelFileError."""
    try:
        return read()
    except KeyError as error:
        raise ModelFileError(file.path, f"its {what} lacks {error.args[0]}") from error


def configured_heads(file: WeightFile, part: str) -> int | None:
    """The head count in the header's `weft.config`, or None.

    Raises ModelFileError for settings this version does not know.
    """
    config = file.config().get(part, {})
    if not isinstance(config, Mapping):
        raise ModelFileError(file.path, f"{CONFIG_KEY} has no object under {part!r}")
    if config.get("norm_groups", "gcd32") != "gcd32":
        raise ModelFileError(file.path, f"{CONFIG_KEY} asks for norm_groups {config['norm_groups']!r}; known: 'gcd32'")
    heads = config.get("heads")
    if heads is not None and (not isinstance(heads, int) or heads < 1):
        raise ModelFileError(file.path, f"{CONFIG_KEY} asks for {heads!r} heads in {part!r}")
    return heads


def read_text_shape(tensors: Mapping[str, Tensor], heads: int | None) -> ClipShape:
    """Sizes of the text model; KeyError when it lacks its tables or first layer."""
    vocabulary, width = tensors["embeddings.token_embedding.weight"].shape
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}
    return ClipShape(
        width=width,
        layers=len(layers),
        heads=heads or max(width // 64, 4),
        intermediate=tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        vocabulary=vocabulary,
        positions=tensors["embeddings.position_embedding.weight"].shape[0],
    )


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, by the rest of their names."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text model's tensors by their names below `text_model.`."""
    return {name.removeprefix(TEXT_WRAPPER): tensor for name, tensor in tensors.items()}


def unet_names(file: WeightFile, shape: UNetShape) -> dict[str, str]:
    """The file's name → the module's name of the UNet's tensors."""
    return mapped_names(file, PREFIXES["diffusion"], lambda name: unet_key(name, shape))


def text_names(file: WeightFile) -> dict[str, str]:
    """The file's name → the module's name of the text model's tensors; its list of positions is none of them."""
    return mapped_names(
        file,
        PREFIXES["text"],
        lambda name: None if name.endswith("position_ids") else name.removeprefix(TEXT_WRAPPER),
    )


def vae_names(file: WeightFile, shape: VaeShape) -> dict[str, str]:
    """The file's name → the module's name of the autoencoder's tensors."""
    return mapped_names(file, PREFIXES["vae"], lambda name: vae_key(name, shape))


def mapped_names(file: WeightFile, prefix: str, key_of: Callable[[str], str | None]) -> dict[str, str]:
    """The file's name → the module's name of all tensors below a prefix that have a place in the module."""
    pairs = ((prefix + name, key_of(name)) for name in below(file.tensors, prefix))
    return {name: key for name, key in pairs if key is not None}
