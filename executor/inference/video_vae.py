"""The VAE of videos that nodes hand around: pictures to latents and back, a few frames at a time.

However long a video is, a device holds what one latent frame takes. Knows no diffusion model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.memory import Memory, Part
from executor.inference.tiling import tiled_scale_multidim
from executor.inference.vae import Vae, colours, crop_to_cells
from executor.inference.values import Image
from executor.inference.wan_vae import WanVae, stretches
from executor.inference.wan_vae_layers import Past

VIDEO = 5  # dimensions of latents or pictures of several videos
LIVE_MAPS = 15  # of a stretch's frames at full size, with what convolutions keep of those before (measured: 14.6)
ENCODER_LIVE_MAPS = 10  # (measured: 9.6)
TILE, SHARED = 256, 64  # pixels, where nothing is asked


class VideoVae(Vae):
    """One autoencoder of videos."""

    latent_dim = 3

    def __init__(self, *, part: Part[WanVae], memory: Memory) -> None:
        super().__init__(part=part, memory=memory)  # type: ignore[arg-type]  # what it asks of a module is overridden
        self.video = part

    @property
    def frames(self) -> int:
        """Pictures per latent frame, but for the first."""
        return self.video.module.shape.frames

    def temporal_compression_decode(self) -> int:
        """`frames` under a name that packs know."""
        return self.frames

    # ---------------------------------------------------------------- pictures to latents

    def encode(self, pixels: Image) -> Tensor:
        """Latents [1 or B, C, f, h, w] of one video [F, H, W, C] or several [B, F, H, W, C]: the posterior's mean.

        Pictures behind the last one that ends a latent frame are left out; all are cut to whole cells around their
        middle. Raises NodeInputError for pictures without a whole cell, or without three colours.
        """
        videos = self._videos(pixels)
        working = self._encoding_bytes(*videos.shape[-2:])
        return self._or_tiled(
            lambda: self._roomy(working, lambda: self._encode_videos(videos)), lambda: self.encode_tiled(pixels)
        )

    def encode_tiled(
        self,
        pixel_samples: Image,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """`encode` in tiles of so many pixels, with so many shared.

        Frames are never cut (`tile_t`, `overlap_t`): they come one after the other in any case, and a stretch of its
        own would not see those before it.
        """
        videos, cell = self._videos(pixel_samples), self.downscale
        tile = max(cell, (tile_y or TILE) // cell * cell), max(cell, (tile_x or TILE) // cell * cell)
        shared = (SHARED if overlap is None else overlap) // cell * cell
        working = self._encoding_bytes(*tile)
        return self._roomy(
            working,
            lambda: tiled_scale_multidim(
                videos,
                self._encode_videos,
                (videos.shape[2], *tile),
                overlap=(0, shared, shared),
                upscale_amount=[self._latent_frames, cell, cell],
                out_channels=self.latent_channels,
                downscale=True,
            ),
        )

    def _videos(self, pixels: Image) -> Tensor:
        """Pictures [F, H, W, C] or [B, F, H, W, C] as videos [B, 3, F, H, W] of whole cells, in 0..1."""
        batch = pixels if pixels.ndim == VIDEO else pixels[None]
        if not batch.shape[1]:
            raise NodeInputError("a video without pictures cannot be encoded")
        flat = crop_to_cells(colours(batch.flatten(0, 1)), self.downscale)
        return flat.reshape(*batch.shape[:2], *flat.shape[1:]).movedim(-1, 1)

    def _encode_videos(self, videos: Tensor) -> Tensor:
        """Latents [B, C, f, h, w] of videos [B, 3, F, H, W] in 0..1, on the CPU."""
        past: Past = {}
        parts = []
        for part in stretches(videos, self.frames):
            pixels = part.to(self.video.device, self.video.dtype) * 2 - 1
            parts.append(self.video.module.encode_part(pixels, past).float().cpu())
        return torch.cat(parts, dim=2)

    def _latent_frames(self, pictures: float) -> float:
        return 1 + (pictures - 1) // self.frames

    # ---------------------------------------------------------------- latents to pictures

    def decode(self, samples: Tensor, vae_options: dict[str, Any] | None = None) -> Image:
        """Videos [B, F, H, W, 3] in 0..1, float32, of latents [B, C, f, h, w], on the CPU; F = 1 + 4 (f - 1).

        Latents of pictures [B, C, h, w] are videos of one. Raises NodeInputError for latents of other channels.
        """
        latents = self._latents(samples)
        sides = (side * self.downscale for side in latents.shape[3:])
        working = self._decoding_bytes(*sides)
        return self._or_tiled(
            lambda: self._roomy(working, lambda: self._decode_latents(latents)), lambda: self.decode_tiled(samples)
        )

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Image:
        """`decode` in tiles of so many latent cells, with so many shared; frames are not cut, as in `encode_tiled`."""
        latents, cell = self._latents(samples), self.downscale
        tile = tile_y or TILE // cell, tile_x or TILE // cell
        shared = SHARED // cell if overlap is None else overlap
        working = self._decoding_bytes(tile[0] * cell, tile[1] * cell)
        whole = self._roomy(
            working,
            lambda: tiled_scale_multidim(
                latents.float(),
                lambda piece: self._decode_latents(piece).movedim(-1, 1),
                (latents.shape[2], *tile),
                overlap=(0, shared, shared),
                upscale_amount=[self._pictures, cell, cell],
            ),
        )
        return whole.movedim(1, -1)

    def _latents(self, samples: Tensor) -> Tensor:
        """Latents [B, C, f, h, w]; NodeInputError for those of another shape, and none."""
        latents = samples[:, :, None] if samples.ndim == VIDEO - 1 else samples
        if latents.ndim != VIDEO or latents.shape[1] != self.latent_channels:
            wanted = f"[batch, {self.latent_channels}, frames, height, width]"
            raise NodeInputError(f"this VAE decodes latents of shape {wanted}, not {list(samples.shape)}")
        if not latents.numel():
            raise NodeInputError(f"these latents, {list(samples.shape)}, are empty: there is nothing to decode")
        return latents

    def _decode_latents(self, latents: Tensor) -> Image:
        """Videos [B, F, H, W, 3] in 0..1 of latents [B, C, f, h, w], one after the other, on the CPU."""
        cell = self.downscale
        height, width = (side * cell for side in latents.shape[3:])
        videos = torch.empty(len(latents), int(self._pictures(latents.shape[2])), height, width, 3)
        for video, latent in zip(videos, latents, strict=True):
            at = 0
            for pictures in self._decoded_parts(latent[None]):
                video[at : at + len(pictures)] = pictures
                at += len(pictures)
        return videos

    def _decoded_parts(self, latent: Tensor) -> Iterator[Image]:
        """The pictures [F, H, W, 3] of one video's latents [1, C, f, h, w], a latent frame at a time, on the CPU."""
        past: Past = {}
        for part in torch.split(latent, 1, dim=2):
            decoded = self.video.module.decode_part(part.to(self.video.device, self.video.dtype), past)
            yield (decoded[0].float() * 0.5 + 0.5).clamp_(0, 1).movedim(0, -1).contiguous().cpu()

    def _pictures(self, latent_frames: float) -> float:
        return max(0.0, 1 + (latent_frames - 1) * self.frames)  # what begins at 0 does so in pictures too

    # ---------------------------------------------------------------- memory

    def _encoding_bytes(self, height: int, width: int) -> int:
        return self._stretch_bytes(ENCODER_LIVE_MAPS * self.video.module.shape.encoder_widths[0], height, width)

    def _decoding_bytes(self, height: int, width: int) -> int:
        return self._stretch_bytes(LIVE_MAPS * self.video.module.shape.decoder_widths[0], height, width)

    def _stretch_bytes(self, maps: int, height: int, width: int) -> int:
        """Bytes that one latent frame's pictures need beside the weights, from so many maps of full size."""
        patch = self.video.module.shape.patch
        return self.frames * maps * (height // patch) * (width // patch) * torch.float32.itemsize
