"""How families of diffusion models use text encoders: which layer, which padding, which length. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from executor.inference.text.bpe import END
from executor.inference.text.clip_model import Activation
from executor.inference.text.qwen_bpe import PAD


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderKind:
    """How a family of diffusion models uses a text encoder (reference/model_layer.md, hidden states and pads)."""

    name: str  # "l", "g", "h" or "t5xxl", as packs name its tokens
    activation: Activation = "gelu"
    layer: int | None = None  # counted from the end; None: the last, with the final norm
    normed: bool = True  # whether the final norm goes over a chosen hidden layer
    projected: bool = True  # whether the pooled vector is projected where the file has a projection
    pad: int = 0

    @property
    def label(self) -> str:
        """What packs call its weights by, and people its file."""
        return f"clip_{self.name}"

    @property
    def title(self) -> str:
        """What people call it."""
        return f"CLIP-{self.name.upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Kind(EncoderKind):
    """How a family uses a T5 encoder."""

    name: str = "t5xxl"
    min_length: int = 77  # tokens, with end and padding
    masks_padding: bool = False  # whether no place attends to the padding
    zeroes_padding: bool = False  # whether the padding's states count as zeros

    @property
    def label(self) -> str:
        """What packs call its weights by, and people its file."""
        return self.name

    @property
    def title(self) -> str:
        """What people call it."""
        return "T5-XXL"


@dataclass(frozen=True, slots=True, kw_only=True)
class UMT5Kind(T5Kind):
    """How a family uses a UMT5 encoder, whose vocabulary stands in its file."""

    name: str = "umt5xxl"
    min_length: int = 512
    masks_padding: bool = True
    zeroes_padding: bool = True
    vocabulary: Tensor | None = field(default=None, compare=False, repr=False)  # a SentencePiece model's bytes [n]

    @property
    def title(self) -> str:
        """What people call it."""
        return "UMT5-XXL"


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenKind(EncoderKind):
    """How a family uses Qwen2.5-VL, which reads conversations."""

    name: str = "qwen25_7b"
    pad: int = PAD

    @property
    def label(self) -> str:
        """What packs call its weights by, and people its file."""
        return self.name

    @property
    def title(self) -> str:
        """What people call it."""
        return "Qwen2.5-VL"


CLIP_L = EncoderKind(name="l", activation="quick_gelu", pad=END)
"""SD1.x."""
CLIP_L_RAW = EncoderKind(name="l", activation="quick_gelu", layer=-2, normed=False, pad=END)
"""SDXL's first."""
CLIP_G = EncoderKind(name="g", layer=-2, normed=False)
"""SDXL's second, and the refiner's; SD3's second."""
CLIP_H = EncoderKind(name="h", layer=-2)
"""SD2.x."""
CLIP_L_SD3 = EncoderKind(name="l", activation="quick_gelu", layer=-2, normed=False, projected=False, pad=END)
"""SD3's first."""
CLIP_L_FLUX = EncoderKind(name="l", activation="quick_gelu", projected=False, pad=END)
"""Flux's first, of which only the pooled vector is used."""
T5_FLUX = T5Kind(min_length=256)
"""Flux's second."""
T5_SD3 = T5Kind(min_length=77)
"""SD3's third."""
T5_CHROMA = T5Kind(min_length=1, masks_padding=True)
"""Chroma's only one."""
UMT5_WAN = UMT5Kind()
"""Wan's only one."""
QWEN_IMAGE = QwenKind()
"""Qwen-Image's only one."""
