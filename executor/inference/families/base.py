"""What a model family is: it recognises its files and builds modules of them. Names no family."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.denoiser import ModelSampling
from executor.inference.devices import Role
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part
from executor.inference.text.clip_model import ClipTextModel
from executor.inference.vae_model import ImageAutoencoder
from executor.inference.weights import WeightFile

MISSING_SHOWN = 3
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What a file is: its family, the sizes read from it, and the prefix of each part's names."""

    family: str
    config: object  # the family's own record of sizes
    dtype: torch.dtype  # of most diffusion weights
    prefixes: Mapping[str, str]  # diffusion, text, vae → prefix of names in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The modules of a checkpoint, weights mapped."""

    diffusion: Part[nn.Module]
    text: Part[ClipTextModel]
    vae: Part[ImageAutoencoder]
    width: int  # channels of the diffusion network's widest feature maps of full size


class Family(Protocol):
    """One architecture that files come in."""

    @property
    def name(self) -> str:
        """Its short name."""
        ...

    @property
    def latent_format(self) -> LatentFormat:
        """The latent space of its models."""
        ...

    def sampling(self) -> ModelSampling:
        """What its networks' outputs mean and at which noise levels."""
        ...

    def detect(self, file: WeightFile) -> Detection | None:
        """What the file is, or None when it is not of this family.

        Raises ModelFileError when it is, but lacks parts or has sizes that cannot be.
        """
        ...

    def build(self, file: WeightFile, detection: Detection) -> Parts:
        """Modules of the file's sizes holding its mapped weights."""
        ...


def assign(file: WeightFile, module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Put mapped weights into a module that was built on the meta device.

    Raises ModelFileError naming what is missing, of another kind of number, or of another shape than the rest implies.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in weights]
    if missing:
        shown = ", ".join(missing[:MISSING_SHOWN])
        raise ModelFileError(file.path, f"its {what} lacks {len(missing)} tensors, such as {shown}")
    for key, empty in wanted.items():
        if weights[key].shape != empty.shape:
            found, implied = tuple(weights[key].shape), tuple(empty.shape)
            raise ModelFileError(
                file.path, f"its {what} has {key} of shape {found} where {implied} follows from the rest"
            )
        if empty.is_floating_point() and not weights[key].is_floating_point():
            kind = str(weights[key].dtype).removeprefix("torch.")
            raise ModelFileError(
                file.path,
                f"its {what} holds {key} as {kind}",
                "weights of type float32, float16, bfloat16 or float8 fit",
            )
    module.load_state_dict(dict(weights), strict=False, assign=True)
    module.requires_grad_(False)
    module.eval()
    left = [name for name, tensor in module.named_parameters() if tensor.is_meta]
    if left:
        raise ModelFileError(file.path, f"its {what} leaves {len(left)} weights unset, such as {left[0]}")


def build_part(
    file: WeightFile, what: str, role: Role, build: Callable[[], Module], keys: Mapping[str, str]
) -> Part[Module]:
    """A module built without memory, then given the file's tensors; `keys` maps the file's names to the module's.

    Raises ModelFileError when tensors are missing or do not fit together.
    """
    with torch.device("meta"):
        module = build()
    weights = {key: file.tensors[name] for name, key in keys.items()}
    for key, empty in module.state_dict().items():
        # the original keeps some linear layers as 1x1 convolutions
        if key in weights and empty.ndim == 2 and weights[key].ndim == 4:
            weights[key] = weights[key][:, :, 0, 0]
    assign(file, module, weights, what)
    return Part(f"{what} of {file.path.name}", role, module, weights, keys)
