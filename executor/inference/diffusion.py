"""A network that predicts, and what its prediction means: what lies behind a MODEL. Knows neither patches nor nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from executor.inference.crossing import sent, sent_like
from executor.inference.denoiser import ModelSampling
from executor.inference.extras import Extra
from executor.inference.hooks import REGIONS, pure_patches
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part
from executor.inference.network import DiffusionNetwork
from executor.inference.network_config import ModelType, NetworkConfig, model_type
from executor.inference.objects import ObjectPatches
from executor.inference.recordable import is_plain
from executor.inference.regions import Regions
from executor.inference.text_products import KEPT_BYTES, PRODUCTS, TextProducts
from executor.inference.wrappers import APPLY_MODEL, DIFFUSION_MODEL, around

# feature maps of the widest full-size layer that are alive at once, skips included
LIVE_MAPS = 12
CHUNK = 77  # tokens of one text
TOKENS = "grounding"
"""What network calls call the tokens of placed texts."""
PREFIX = "diffusion_model."
"""What the names of a network's weights start with where packs name them."""


class DiffusionModel:
    """A network and its sampling; `diffusion_model` and `model_sampling` are the names that packs know.

    Both may be replaced for a time by `objects`.
    """

    def __init__(
        self,
        *,
        part: Part[nn.Module],
        sampling: ModelSampling,
        width: int,
        text_cells: int = 0,
        latent_format: LatentFormat | None = None,
        extras: Sequence[Extra] = (),
    ) -> None:
        """`width`: channels of the network's widest feature maps of full size; `extras`: what else it takes.

        `text_cells`: as many latent cells take the room of a text's tokens, where these stand beside the picture's.
        """
        self.text_cells = text_cells
        self.part, self.width, self.latent_format, self.extras = part, width, latent_format, tuple(extras)
        self.diffusion_model: nn.Module = part.module
        self.model_sampling = sampling
        self.objects = ObjectPatches(self)
        self.current_patcher: object = None  # the MODEL that was loaded last
        self.records = False  # whether calls may be recorded, in the sampling under way
        self.keeps_texts = False  # whether layers may keep what they made of a text, in the sampling under way
        self.regions: Regions | None = None  # compiled layers, in the sampling under way

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and prediction type."""
        return self.model_sampling

    @property
    def model_type(self) -> ModelType:
        """What its output means, by the name that packs know."""
        return model_type(self.model_sampling)

    @property
    def model_config(self) -> NetworkConfig:
        """Its sizes, as packs read them; empty for a network that is not Weft's own."""
        network = self.diffusion_model
        sizes = network.sizes if isinstance(network, DiffusionNetwork) else {}
        return NetworkConfig(unet_config=sizes, latent_format=self.latent_format)

    manual_cast_dtype: torch.dtype | None = None
    concat_keys: tuple[str, ...] = ()

    def is_adm(self) -> bool:
        """Whether the network takes a vector beside the time."""
        return self.adm_channels > 0

    @property
    def adm_channels(self) -> int:
        """Width of that vector, 0 without."""
        network = self.diffusion_model
        return network.vector_width if isinstance(network, DiffusionNetwork) else 0

    def parameters(self) -> Iterator[nn.Parameter]:
        """The network's weights."""
        return self.diffusion_model.parameters()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The network's weights by the names that packs know."""
        return ((f"{PREFIX}{name}", weight) for name, weight in self.diffusion_model.named_parameters())

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The network's modules by the names that packs know."""
        return ((f"{PREFIX}{name}".rstrip("."), module) for name, module in self.diffusion_model.named_modules())

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.part.device

    def get_dtype(self) -> torch.dtype:
        """The type it computes in."""
        return self.part.dtype

    def apply(
        self,
        x: Tensor,
        sigma: Tensor,
        *,
        context: Tensor,
        transformer_options: Mapping[str, object] | None = None,
        **conditions: object,
    ) -> Tensor:
        """The denoised latent [B, 4, h, w], float32, of a noisy one at sigma [B] under context [B, T, C].

        `transformer_options` go with the call for the patches that see it; `conditions` are what else the network
        takes (`control`, `y`, `c_concat`).
        """
        given = cast("dict[str, Any]", conditions)
        return self.apply_model(x, sigma, c_crossattn=context, transformer_options=transformer_options, **given)

    def apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Mapping[str, list[Tensor | None]] | None = None,
        transformer_options: Mapping[str, object] | None = None,
        **conditions: object,
    ) -> Tensor:
        """`apply` under the names that packs call it by; t is sigma [B]."""
        options = dict(transformer_options or {})
        wrapped = around(APPLY_MODEL, options, self._apply, self)
        denoised = wrapped(x, t, c_concat, c_crossattn, control, options, **conditions)
        return cast(Tensor, denoised)

    def _apply(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Mapping[str, list[Tensor | None]] | None = None,
        transformer_options: Mapping[str, object] | None = None,
        **conditions: object,
    ) -> Tensor:
        sampling, dtype = self.model_sampling, self.part.dtype
        network_input = sampling.calculate_input(t, x).to(dtype)
        if c_concat is not None:
            network_input = torch.cat([network_input, sent_like(c_concat, network_input)], dim=1)
        given = {name: of_type(value, x.device, dtype) for name, value in conditions.items() if value is not None}
        if control is not None:
            given["control"] = control
        network = self.diffusion_model
        options = dict(transformer_options or {})
        if TOKENS in given:  # for a patch and not for the network
            options[TOKENS] = given.pop(TOKENS)
        context = None if c_crossattn is None else sent(c_crossattn, x.device, dtype)
        timestep = sampling.timestep(t).float()
        plain, recordings = is_plain(options), self.part.recordings
        records = plain and self.records and recordings is not None
        if plain and self.regions is not None:
            options[REGIONS] = self.regions.of((id(self.part), self.part.changes))
        products = cast("TextProducts | None", options.pop(PRODUCTS, None))
        if products is not None and plain and self.keeps_texts and self.regions is None and not records:
            options[PRODUCTS] = products.under(self.part.changes)
        if records and recordings is not None:
            alone = partial(network, transformer_options=options)
            arguments = {"x": network_input, "timesteps": timestep, "context": context, **given}
            output = recordings.call(alone, arguments, apart=pure_patches(options))
        else:
            wrapped = around(DIFFUSION_MODEL, options, network, network)
            arguments = {"context": context, "transformer_options": options, **given}
            output = cast(Tensor, wrapped(network_input, timestep, **arguments))
        return sampling.calculate_denoised(t, output.float(), x)

    @property
    def text_width(self) -> int | None:
        """Width of the text's tokens that its network takes; None where nothing tells."""
        network = self.diffusion_model
        return network.text_width if isinstance(network, DiffusionNetwork) else None

    @property
    def repeats_text(self) -> bool:
        """Whether its network answers the same to text whose tokens come several times."""
        network = self.diffusion_model
        return network.repeats_text if isinstance(network, DiffusionNetwork) else True

    def working_bytes(self, shape: torch.Size) -> int:
        """Bytes that one call on latents [B, 4, ..., h, w] needs beside the weights."""
        cells = math.prod(shape[2:]) + self.text_cells
        return LIVE_MAPS * shape[0] * self.width * cells * self.part.dtype.itemsize

    def text_bytes(self, shape: torch.Size) -> int:
        """Bytes that layers keep of the text while latents [B, 4, h, w] are sampled, at one chunk of text for each."""
        network = self.diffusion_model
        width = network.kept_width if isinstance(network, DiffusionNetwork) else 0
        return min(KEPT_BYTES, 2 * shape[0] * CHUNK * width * self.part.dtype.itemsize)  # keys and values

    def memory_required(self, input_shape: torch.Size, cond_shapes: object = None) -> int:
        """`working_bytes` under the name that packs know."""
        return self.working_bytes(input_shape)

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights as they are at present, by the names that packs know."""
        return {f"{PREFIX}{key}": weight for key, weight in self.part.module.state_dict().items()}

    def process_latent_in(self, latent: Tensor) -> Tensor:
        """From the autoencoder's scale to the network's."""
        return latent if self.latent_format is None else self.latent_format.process_in(latent)

    def process_latent_out(self, latent: Tensor) -> Tensor:
        """From the network's scale to the autoencoder's."""
        return latent if self.latent_format is None else self.latent_format.process_out(latent)


def of_type(value: object, device: torch.device, dtype: torch.dtype) -> object:
    """A tensor of floats on a device and of a type, and each of several; anything else as it is."""
    if isinstance(value, list | tuple):
        return [of_type(each, device, dtype) for each in value]
    return sent(value, device, dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
