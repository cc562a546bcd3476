"""The CLIP_VISION that nodes hand around: pictures to vectors. Knows no diffusion model.

The network is CLIP's picture tower (Radford et al. 2021, arXiv:2103.00020), its modules named as in transformers'
files; OpenCLIP's names are read too. Method names are the ecosystem's (reference/custom_node_surface.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.detect import describe
from executor.inference.memory import Memory, Part
from executor.inference.text.clip_model import Activation, VisionLayer
from executor.inference.values import Image
from executor.inference.vision_names import MARK, transformers_names
from executor.inference.weights import WeightFile, read_weights

FITS = "a CLIP vision model (ViT-L, ViT-H or ViT-bigG) fits here"
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
HEAD_WIDTHS = {1280: 80, 1664: 104}  # width → of each head; 64 in the others
"""ViT-H and ViT-bigG."""
QUICK_WIDTHS = (768, 1024)  # OpenAI's own models, ViT-B and ViT-L, have the quick GELU

IN_CHECKPOINTS = ("embedder.model.", "conditioner.embedders.0.open_clip.model.", "cond_stage_model.model.")
"""Where checkpoints hold one: unCLIP's, video models', Zero123's."""


class Output(Mapping[str, object]):
    """What a vision model says of pictures; values are read as attributes or by name."""

    def __init__(
        self, last_hidden_state: Tensor, penultimate_hidden_states: Tensor, image_embeds: Tensor | None
    ) -> None:
        """Hidden states [B, T, C] before the last norm and before the last layer, vectors [B, P], on the CPU."""
        self.last_hidden_state = last_hidden_state
        self.penultimate_hidden_states = penultimate_hidden_states
        self.image_embeds = image_embeds
        self.image_sizes: list[tuple[int, ...]] = []
        self.mm_projected: Tensor | None = None

    def __getitem__(self, key: str) -> object:
        try:
            return vars(self)[key]
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, item: object) -> None:
        setattr(self, key, item)

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))


ClipVisionOutput = Output
"""The type of what `encode_image` gives."""


class VisionEmbeddings(nn.Module):
    """Patches of a picture and a token for the whole, with their places."""

    def __init__(self, width: int, patch: int, positions: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(positions, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens [B, 1 + patches, C] of pictures [B, 3, H, W]."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        whole = self.class_embedding.to(patches).expand(len(patches), 1, -1)
        tokens = torch.cat([whole, patches], dim=1)
        places = self.position_embedding.weight.to(tokens)
        return tokens + places[None]


class VisionEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, width: int, heads: int, inner: int, layers: int, activation: Activation) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(width, heads, inner, activation) for _ in range(layers))


class VisionModel(nn.Module):
    """Pictures to hidden states."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Sizes are those of the tensors."""
        super().__init__()
        kernel = tensors["vision_model.embeddings.patch_embedding.weight"]
        width, patch = kernel.shape[0], kernel.shape[-1]
        positions = tensors["vision_model.embeddings.position_embedding.weight"].shape[0]
        inner = tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
        layers = {name.split(".")[3] for name in tensors if name.startswith("vision_model.encoder.layers.")}
        activation: Activation = "quick_gelu" if width in QUICK_WIDTHS else "gelu"
        heads = max(1, width // HEAD_WIDTHS.get(width, 64))
        self.image_size = round((positions - 1) ** 0.5) * patch
        self.embeddings = VisionEmbeddings(width, patch, positions)
        self.pre_layrnorm = nn.LayerNorm(width)  # spelt so in the files
        self.encoder = VisionEncoder(width, heads, inner, len(layers), activation)
        self.post_layernorm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The last hidden states, those one layer before, and the normed vector of the whole picture."""
        x = self.pre_layrnorm(self.embeddings(pixels))
        before = x
        for layer in self.encoder.layers:
            before, x = x, layer(x)
        return x, before, self.post_layernorm(x[:, 0])


class VisionTower(nn.Module):
    """A vision model with the projection that makes its vector comparable to texts."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Sizes are those of the tensors."""
        super().__init__()
        self.vision_model = VisionModel(tensors)
        weight = tensors.get("visual_projection.weight")
        self.visual_projection = None if weight is None else nn.Linear(weight.shape[1], weight.shape[0], bias=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The last hidden states, those one layer before, and the projected vector."""
        last, before, pooled = self.vision_model(pixels)
        return last, before, None if self.visual_projection is None else self.visual_projection(pooled)


class ClipVision:
    """One vision model."""

    def __init__(self, part: Part[VisionTower], memory: Memory) -> None:
        self.part, self.memory = part, memory

    @property
    def model(self) -> VisionTower:
        """The network."""
        return self.part.module

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        return self.memory.device

    def encode_image(self, image: Image, crop: bool = True) -> Output:
        """Vectors of pictures [B, H, W, C] in 0..1, cut to a square around their middle or squeezed into one."""
        self.memory.load(self.part)
        pixels = clip_preprocess(image, self.part.module.vision_model.image_size, crop=crop)
        with torch.no_grad():
            last, before, embeds = self.part.module(pixels.to(self.part.device, self.part.dtype))
        vectors = None if embeds is None else embeds.float().cpu()
        output = Output(last.float().cpu(), before.float().cpu(), vectors)
        output.image_sizes = [tuple(pixels.shape[1:])] * len(pixels)
        return output

    def get_sd(self) -> dict[str, Tensor]:
        """Its weights in the file's types."""
        return dict(self.part.weights)


def clip_preprocess(
    image: Image,
    size: int = 224,
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = DEVIATION,
    crop: bool = True,
) -> Tensor:
    """Pictures [B, H, W, C] in 0..1 as the network takes them, [B, 3, size, size]: bicubic, in 8-bit steps."""
    pixels = image[..., :3].movedim(-1, 1).float()
    if pixels.shape[-2:] != (size, size):
        height, width = pixels.shape[-2:]
        scale = size / min(height, width)
        sides = (round(scale * height), round(scale * width)) if crop else (size, size)
        pixels = functional.interpolate(pixels, size=sides, mode="bicubic", antialias=True)
        top, left = (pixels.shape[-2] - size) // 2, (pixels.shape[-1] - size) // 2
        pixels = pixels[..., top : top + size, left : left + size]
    pixels = (255.0 * pixels).clamp(0, 255).round() / 255.0
    shape = (1, 3, 1, 1)
    return (pixels - pixels.new_tensor(mean).reshape(shape)) / pixels.new_tensor(std).reshape(shape)


def load_clip_vision(path: Path, memory: Memory) -> ClipVision:
    """The vision model of a file; ModelFileError when it is broken or holds none."""
    found = vision_in(read_weights(path), "")
    if found is None:
        raise ModelFileError(path, f"looks like {describe(read_weights(path).tensors)[0]}", FITS)
    return ClipVision(found, memory)


def vision_of_checkpoint(file: WeightFile | None, memory: Memory) -> ClipVision | None:
    """The vision model that a checkpoint's file brings for its pictures, or None."""
    if file is None:
        return None
    found = next(filter(None, (vision_in(file, prefix) for prefix in IN_CHECKPOINTS)), None)
    return None if found is None else ClipVision(found, memory)


def vision_in(file: WeightFile, prefix: str) -> Part[VisionTower] | None:
    """The vision model below a prefix, in transformers' names or OpenCLIP's; None when there is none."""
    inside = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    if MARK in inside:
        inside = transformers_names(inside)
    keys = {name: name for name in inside if name.startswith(("vision_model.", "visual_projection."))}
    if "vision_model.embeddings.patch_embedding.weight" not in keys:
        return None
    whole = WeightFile(path=file.path, tensors=inside)
    keys = {name: key for name, key in keys.items() if not name.endswith("position_ids")}
    part = build_part(whole, "vision model", "text", lambda: VisionTower(inside), keys)
    return part
