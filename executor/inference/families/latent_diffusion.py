"""Single files of latent diffusion at any width and depth (Rombach et al. 2022, arXiv:2112.10752): what families share.

The UNet and the text models are our own, the autoencoder is diffusers' encoder and decoder. Sizes come from the shapes
of the tensors. What shapes do not tell follows the published models (8 UNet heads beside convolutional projections,
heads of width 64 beside linear ones, text heads of width 64, gcd(32, channels) norm groups) unless the file's
`weft.config` metadata says it: {"unet": {"heads": 8, "norm_groups": "gcd32"}, "text": {"heads": 4}}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.denoiser import ModelSampling, discrete_eps
from executor.inference.extras import Extra
from executor.inference.families.base import Detection, Diffusion, Parts
from executor.inference.families.ldm_unet import read_unet_shape
from executor.inference.families.ldm_vae import read_vae_shape, vae_key
from executor.inference.families.prediction import told_sampling
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part, most_common_dtype
from executor.inference.text.clip_file import build_text_model, read_text_shape, text_tensors
from executor.inference.text.clip_model import ClipShape
from executor.inference.text.places import BuiltText, TextPlace
from executor.inference.unet import UNet, UNetShape
from executor.inference.vae_model import ImageAutoencoder, VaeShape
from executor.inference.video_autoencoder import autoencoder
from executor.inference.weights import CONFIG_KEY, WeightFile

UNET, VAE = "model.diffusion_model.", "first_stage_model."
FIRST = "input_blocks.0.0.weight"
HEAD_WIDTH = 64
WHOLE = "a network with as many output blocks as input blocks fits here; download it again"
# parts of names that only some networks of this outline have: videos, and pictures that lead
VIDEO, UNCLIP, ZERO123 = "input_blocks.1.0.time_stack.", "noise_augmentor.", "cc_projection."
MARKS = (VIDEO, UNCLIP, ZERO123)
Shape = TypeVar("Shape")
ReadExtras = Callable[[UNetShape, LatentFormat], tuple[Extra, ...]]
ReadFileExtras = Callable[[WeightFile, UNetShape], tuple[Extra, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the parts that a file holds."""

    unet: UNetShape
    texts: tuple[ClipShape, ...]  # none where pictures lead, or where the file lacks one of the family's encoders
    vae: VaeShape | None


def no_extras(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """Nothing beside latents, time and text."""
    return ()


def eps_unless_told(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """Noise prediction over the 1000 levels of the training, unless the file says otherwise."""
    return told_sampling(file) or discrete_eps()


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentDiffusion:
    """One family of such files."""

    name: str
    title: str  # as people call it
    latent_format: LatentFormat
    texts: tuple[TextPlace, ...]  # none where pictures lead
    is_ours: Callable[[UNetShape], bool]  # whether a UNet of these sizes is of the family
    channels: Mapping[int, ReadExtras]  # input channels → what the channels beyond the latents' are
    vector: ReadExtras = no_extras  # what the vector beside the time is made of
    marks: tuple[str, ...] = ()  # those of MARKS that its files have
    may_have: tuple[str, ...] = ()  # those that some of them have
    vision: str = ""  # where its checkpoints hold a vision model
    read_beside: ReadFileExtras = lambda file, shape: ()  # what else the network takes, as the file tells
    read_sampling: Callable[[WeightFile, Part[nn.Module]], ModelSampling] = eps_unless_told
    read_format: Callable[[WeightFile, LatentFormat], LatentFormat] = lambda file, usual: usual

    def sampling(self, file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
        """What the network's output means and at which noise levels."""
        return self.read_sampling(file, network)

    # ---------------------------------------------------------------- what a file is

    def detect(self, file: WeightFile) -> Detection | None:
        """The sizes of a checkpoint of the family; None for others. Text encoders and VAE may be missing.

        Raises ModelFileError when a part is of a kind that this version does not run.
        """
        names = file.tensors
        if UNET + FIRST not in names or not self._is_marked(names) or not self._may_hold(names):
            return None
        unet = self._unet_shape(file, below(names, UNET))
        if not self.is_ours(unet):
            return None
        self._check_channels(file, unet)
        dtype = most_common_dtype(below(names, UNET))
        prefixes = {"diffusion": UNET, "vae": VAE} | ({"text": self.texts[0].prefix} if self.texts else {})
        return Detection(family=self.name, config=self._config(file, unet), dtype=dtype, prefixes=prefixes)

    def _is_marked(self, names: Mapping[str, Tensor]) -> bool:
        """Whether the file has the marks of this family and no others."""
        asked = (mark for mark in MARKS if mark not in self.may_have)
        return tuple(mark for mark in asked if any(mark in name for name in names)) == self.marks

    def _may_hold(self, names: Mapping[str, Tensor]) -> bool:
        """Whether text encoders stand where this family has one, or nowhere."""
        texts = [name for name in names if name.startswith(("cond_stage_model.", "conditioner."))]
        ours = tuple(text.prefix for text in self.texts) + ((self.vision,) if self.vision else ())
        return not texts or any(name.startswith(ours) for name in texts)

    def _unet_shape(self, file: WeightFile, tensors: Mapping[str, Tensor]) -> UNetShape:
        heads = configured_heads(file, "unet")
        linear = any(name.endswith(".proj_in.weight") and tensor.ndim == 2 for name, tensor in tensors.items())
        head_width = HEAD_WIDTH if linear and heads is None else None
        return read_shape(file, "UNet", lambda: read_unet_shape(tensors, heads, head_width))

    def _check_channels(self, file: WeightFile, unet: UNetShape) -> None:
        if len(unet.input) != len(unet.output):
            sides = f"{len(unet.input)} input blocks and {len(unet.output)} output blocks"
            raise ModelFileError(file.path, f"is {self.title} model of {sides}: a part of it is missing", WHOLE)
        if unet.in_channels not in self.channels or unet.out_channels != self.latent_format.channels:
            sides = f"{unet.in_channels} input channels and {unet.out_channels} output channels"
            fits = ", ".join(str(count) for count in sorted(self.channels))
            raise ModelFileError(
                file.path,
                f"is {self.title} model of {sides}",
                f"this version runs those of {fits} input channels and {self.latent_format.channels} output channels",
            )

    def missing_parts(self, file: WeightFile) -> list[str]:
        """The parts beside the UNet that checkpoints of the family have and this file lacks."""
        wanted = {**{f"text encoder ({text.kind.name.upper()})": text.prefix for text in self.texts}, "VAE": VAE}
        if len(self.texts) == 1:
            wanted = {"text encoder": self.texts[0].prefix, "VAE": VAE}
        return [part for part, prefix in wanted.items() if not any(n.startswith(prefix) for n in file.tensors)]

    def _config(self, file: WeightFile, unet: UNetShape) -> Config:
        heads, missing = configured_heads(file, "text"), self.missing_parts(file)
        whole = not any(part.startswith("text encoder") for part in missing)
        texts = tuple(text_shape(file, text, heads) for text in self.texts) if whole else ()
        vae = None
        if "VAE" not in missing:
            vae = read_shape(file, "VAE", lambda: read_vae_shape(below(file.tensors, VAE)))
        width = sum(text.width for text in texts)
        if texts and width != unet.context:
            reason = f"its text encoder gives width {width} and its UNet takes {unet.context}"
            raise ModelFileError(file.path, reason)
        check_heads(file, unet, texts)
        return Config(unet=unet, texts=texts, vae=vae)

    # ---------------------------------------------------------------- modules

    def build(self, file: WeightFile, detection: Detection) -> Parts:
        """The UNet, text models and autoencoder of a detected file, weights mapped.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        config = detection.config
        assert isinstance(config, Config)  # detect() made it
        unet = mapped_names(file, UNET, lambda name: name)
        texts: tuple[BuiltText, ...] = tuple(
            (text.kind, build_text_model(file, text.prefix, shape))
            for text, shape in zip(self.texts, config.texts, strict=bool(config.texts))
        )
        return Parts(
            diffusion=self._diffusion(file, config.unet, unet),
            texts=texts,
            vae=None if config.vae is None else build_vae_part(file, config.vae, VAE),
            missing=tuple(self.missing_parts(file)),
        )

    def build_diffusion(self, file: WeightFile, names: Mapping[str, str]) -> Diffusion | None:
        """The UNet of a file; None for one of another family.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        tensors = {original: file.tensors[name] for name, original in names.items()}
        if FIRST not in tensors or not self._is_marked(file.tensors):
            return None
        shape = self._unet_shape(file, tensors)
        if not self.is_ours(shape):
            return None
        self._check_channels(file, shape)
        check_heads(file, shape, ())
        return self._diffusion(file, shape, names)

    def _diffusion(self, file: WeightFile, shape: UNetShape, names: Mapping[str, str]) -> Diffusion:
        part: Part[nn.Module] = build_part(file, "UNet", "diffusion", lambda: UNet(shape), names)
        latent_format = self.read_format(file, self.latent_format)
        return Diffusion(
            part=part,
            width=2 * shape.width,  # the last level joins its input with a skip
            sampling=self.sampling(file, part),
            latent_format=latent_format,
            extras=self._extras(file, shape, latent_format),
        )

    def _extras(self, file: WeightFile, shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
        beside = self.channels[shape.in_channels](shape, latent_format)
        return beside + self.vector(shape, latent_format) + self.read_beside(file, shape)


def build_vae_part(file: WeightFile, shape: VaeShape, prefix: str) -> Part[ImageAutoencoder]:
    """The autoencoder of a checkpoint, below a prefix."""
    names = mapped_names(file, prefix, lambda name: vae_key(name, shape))
    return build_part(file, "VAE", "vae", lambda: autoencoder(shape), names)


def check_heads(file: WeightFile, unet: UNetShape, texts: tuple[ClipShape, ...]) -> None:
    """ModelFileError when attention heads do not divide a width."""
    pairs = [(width, unet.heads_of(width)) for width in unet.widths] + [(text.width, text.heads) for text in texts]
    for width, heads in pairs:
        if width % heads:
            raise ModelFileError(file.path, f"{heads} attention heads do not divide its width {width}")


def read_shape(file: WeightFile, what: str, read: Callable[[], Shape]) -> Shape:
    """A part's sizes; a tensor that is not there becomes a ModelFileError."""
    try:
        return read()
    except KeyError as error:
        raise ModelFileError(file.path, f"its {what} lacks {error.args[0]}") from error


def text_shape(file: WeightFile, text: TextPlace, heads: int | None) -> ClipShape:
    """Sizes of a text encoder of a checkpoint; a tensor that is not there becomes a ModelFileError."""
    tensors = text_tensors(file.tensors, text.prefix)
    return read_shape(file, "text encoder", lambda: read_text_shape(tensors, text.kind, heads))


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


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, by the rest of their names."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def mapped_names(file: WeightFile, prefix: str, key_of: Callable[[str], str | None]) -> dict[str, str]:
    """The file's name → the module's name of all tensors below a prefix that have a place in the module."""
    pairs = ((prefix + name, key_of(name)) for name in below(file.tensors, prefix))
    return {name: key for name, key in pairs if key is not None}
