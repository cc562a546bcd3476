"""How a family's latents are scaled before its network sees them, and what colours they show. Holds no weights."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentFormat:
    """Scale of a latent space and the RGB of each channel for previews (numeric/tables.json, latent_formats)."""

    name: str
    channels: int
    scale_factor: float
    rgb_factors: tuple[tuple[float, float, float], ...]  # [channels][R, G, B]
    rgb_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    downscale: int = 8  # pixels per latent cell, each way

    def process_in(self, latent: Tensor) -> Tensor:
        """From the autoencoder's scale to the network's."""
        return latent * self.scale_factor

    def process_out(self, latent: Tensor) -> Tensor:
        """From the network's scale to the autoencoder's."""
        return latent / self.scale_factor


SD15 = LatentFormat(
    name="SD15",
    channels=4,
    scale_factor=0.18215,
    rgb_factors=(
        (0.3512, 0.2297, 0.3227),
        (0.3250, 0.4974, 0.2350),
        (-0.2829, 0.1762, 0.2721),
        (-0.2120, -0.2616, -0.7177),
    ),
)
