"""Nodes that make, cut, join and mix sounds (AUDIO), and turn them into latents. Know no files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.sound import checked, resampled
from executor.inference.values import Audio, Conditioning, Latent
from nodes.builtin.conditioning import with_values
from nodes.builtin.inputs import InputTypes, choice, decimal, integer, socket

PACK = "comfy_extras.nodes_audio"
LARGEST = 0xFFFFFFFFFFFFFFFF
# The autoencoder of Stable Audio (Evans et al. 2024, arXiv:2407.14358): 64 channels, 2048 samples of 44.1 kHz a cell.
LATENT_CHANNELS, CELL_SAMPLES, LATENT_RATE = 64, 2048, 44100


class EmptyLatentAudio:
    """Empty latents of sound."""

    PACK = PACK
    DISPLAY_NAME = "Empty Latent Audio"
    CATEGORY = "latent/audio"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        batch = integer(1, 1, 4096, tooltip="How many sounds are made at once.")
        return {"required": {"seconds": decimal(47.6, 1.0, 1000.0, 0.1), "batch_size": batch}}

    def generate(self, seconds: float, batch_size: int) -> tuple[Latent]:
        """Zeros [batch, 64, cells] for a length; the number of cells is even, so that a network can halve it."""
        cells = round(seconds * LATENT_RATE / CELL_SAMPLES / 2) * 2
        latent: Any = {"samples": torch.zeros(batch_size, LATENT_CHANNELS, cells), "type": "audio"}
        return (latent,)


class ConditioningStableAudio:
    """Tells a model of sound where in a piece it is, and how long the piece is."""

    PACK = PACK
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "seconds_start": decimal(0.0, 0.0, 1000.0, 0.1),
                "seconds_total": decimal(47.0, 0.0, 1000.0, 0.1),
            }
        }

    def append(
        self, positive: Conditioning, negative: Conditioning, seconds_start: float, seconds_total: float
    ) -> tuple[Conditioning, Conditioning]:
        """Both sides with `seconds_start` and `seconds_total`."""
        values: dict[str, object] = {"seconds_start": seconds_start, "seconds_total": seconds_total}
        return with_values(positive, values), with_values(negative, values)


class VAEEncodeAudio:
    """Turns sound into latents."""

    PACK = PACK
    DISPLAY_NAME = "VAE Encode Audio"
    CATEGORY = "latent/audio"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"audio": socket("AUDIO"), "vae": socket("VAE")}}

    def encode(self, vae: Any, audio: Audio) -> tuple[Latent]:  # noqa: ANN401  # packs bring VAEs of their own
        """Latents of the sound at the VAE's own rate; NodeInputError for a VAE of pictures."""
        rate = _rate_of(vae)
        waveform = resampled(checked(audio), rate)["waveform"]
        return ({"samples": vae.encode(waveform.movedim(1, -1))},)


class VAEDecodeAudio:
    """Turns latents into sound."""

    PACK = PACK
    DISPLAY_NAME = "VAE Decode Audio"
    CATEGORY = "latent/audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": socket("LATENT"), "vae": socket("VAE")}}

    def decode(self, vae: Any, samples: Latent) -> tuple[Audio]:  # noqa: ANN401  # as above
        """Sound at the VAE's rate, as the VAE gives it; NodeInputError for a VAE of pictures."""
        rate = _rate_of(vae)
        waveform = vae.decode(samples["samples"]).movedim(-1, 1)
        return ({"waveform": waveform, "sample_rate": rate},)


def _rate_of(vae: object) -> int:
    """The sample rate of a VAE of sound: it tells one, or says that its latents have one dimension."""
    rate = getattr(vae, "audio_sample_rate", None)
    if rate is None and getattr(vae, "latent_dim", None) == 1:
        rate = LATENT_RATE
    if not isinstance(rate, int | float):
        raise NodeInputError("input 'vae': this VAE knows pictures, not sound; load the VAE of a model of sound")
    return int(rate)


class EmptyAudio:
    """Silence."""

    PACK = PACK
    DISPLAY_NAME = "Empty Audio"
    CATEGORY = "audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "create"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        rate = ("INT", {"default": 44100, "tooltip": "Samples per second."})
        duration = decimal(60.0, 0.0, LARGEST, tooltip="Seconds.")
        channels = integer(2, 1, 2, tooltip="1: mono, 2: stereo.")
        return {"required": {"duration": duration, "sample_rate": rate, "channels": channels}}

    def create(self, duration: float, sample_rate: int, channels: int) -> tuple[Audio]:
        """Zeros [1, channels, duration * rate]; NodeInputError for a rate below 1."""
        if sample_rate < 1:
            raise NodeInputError(f"input 'sample_rate': {sample_rate} is no sample rate; take for example 44100")
        waveform = torch.zeros(1, channels, round(duration * sample_rate))
        return ({"waveform": waveform, "sample_rate": sample_rate},)


class TrimAudioDuration:
    """Cuts a piece out of a sound."""

    PACK = PACK
    DISPLAY_NAME = "Trim Audio Duration"
    CATEGORY = "audio"
    DESCRIPTION = "Keeps so many seconds of a sound from a point on."
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "trim"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        start = decimal(0.0, -LARGEST, LARGEST, tooltip="Seconds from the start, or, if negative, from the end.")
        duration = ("FLOAT", {"default": 60.0, "min": 0.0, "step": 0.01, "tooltip": "Seconds."})
        return {"required": {"audio": socket("AUDIO"), "start_index": start, "duration": duration}}

    def trim(self, audio: Audio, start_index: float, duration: float) -> tuple[Audio]:
        """The samples from there on; NodeInputError when nothing is left."""
        found = checked(audio)
        waveform, rate = found["waveform"], found["sample_rate"]
        total = waveform.shape[-1]
        begin = round(min(max(start_index, -total / rate), total / rate) * rate)
        begin = begin + total if start_index < 0 else begin
        end = min(total, begin + round(min(duration, total / rate) * rate))
        if begin >= end:
            raise NodeInputError(
                f"input 'start_index': nothing is left of {total / rate:.2f} s from {start_index} s on for {duration} s"
            )
        return ({"waveform": waveform[..., begin:end], "sample_rate": rate},)


class SplitAudioChannels:
    """Gives both sides of a stereo sound."""

    PACK = PACK
    DISPLAY_NAME = "Split Audio Channels"
    CATEGORY = "audio"
    DESCRIPTION = "Splits a stereo sound into its left and right channel."
    RETURN_TYPES = ("AUDIO", "AUDIO")
    RETURN_NAMES = ("left", "right")
    FUNCTION = "separate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"audio": socket("AUDIO")}}

    def separate(self, audio: Audio) -> tuple[Audio, Audio]:
        """Each side as a mono sound, the same twice of mono; NodeInputError for more than two channels."""
        found = checked(audio)
        waveform, rate = found["waveform"], found["sample_rate"]
        channels = waveform.shape[1]
        if channels > 2:
            raise NodeInputError(f"input 'audio': only stereo can be split; this sound has {channels} channels")
        left, right = waveform[:, :1], waveform[:, -1:]
        return {"waveform": left, "sample_rate": rate}, {"waveform": right, "sample_rate": rate}


class AudioConcat:
    """Plays one sound after another."""

    PACK = PACK
    DISPLAY_NAME = "Audio Concat"
    CATEGORY = "audio"
    DESCRIPTION = "Puts a sound behind or before another one."
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "concat"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        direction = choice(["after", "before"], default="after", tooltip="Where the second sound goes.")
        return {"required": {"audio1": socket("AUDIO"), "audio2": socket("AUDIO"), "direction": direction}}

    def concat(self, audio1: Audio, audio2: Audio, direction: str) -> tuple[Audio]:
        """Both at the higher of their rates and with the larger number of channels."""
        first, second, rate = _matched(audio1, audio2)
        pieces = (first, second) if direction == "after" else (second, first)
        return ({"waveform": torch.cat(pieces, dim=-1), "sample_rate": rate},)


class AudioMerge:
    """Plays two sounds at once."""

    PACK = PACK
    DISPLAY_NAME = "Audio Merge"
    CATEGORY = "audio"
    DESCRIPTION = "Lays a second sound over the first one, cut or filled up with silence to its length."
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "merge"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        method = (["add", "mean", "subtract", "multiply"], {"tooltip": "How samples are joined."})
        return {"required": {"audio1": socket("AUDIO"), "audio2": socket("AUDIO"), "merge_method": method}}

    def merge(self, audio1: Audio, audio2: Audio, merge_method: str) -> tuple[Audio]:
        """One sound as long as the first; made quieter as a whole where it would pass full scale."""
        first, second, rate = _matched(audio1, audio2)
        length = first.shape[-1]
        second = torch.nn.functional.pad(second[..., :length], (0, max(0, length - second.shape[-1])))
        joined = {
            "add": first + second,
            "subtract": first - second,
            "multiply": first * second,
            "mean": (first + second) / 2,
        }[merge_method]
        peak = float(joined.abs().max()) if joined.numel() else 0.0
        return ({"waveform": joined / peak if peak > 1.0 else joined, "sample_rate": rate},)


class AudioAdjustVolume:
    """Makes a sound louder or quieter."""

    PACK = PACK
    DISPLAY_NAME = "Audio Adjust Volume"
    CATEGORY = "audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "adjust_volume"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        tooltip = "Decibels: 0 leaves the sound as it is, 6 doubles it, -6 halves it."
        volume = ("INT", {"default": 1.0, "min": -100, "max": 100, "tooltip": tooltip})
        return {"required": {"audio": socket("AUDIO"), "volume": volume}}

    def adjust_volume(self, audio: Audio, volume: int) -> tuple[Audio]:
        """Samples times 10^(dB/20)."""
        found = checked(audio)
        return ({"waveform": found["waveform"] * 10 ** (volume / 20), "sample_rate": found["sample_rate"]},)


def _matched(audio1: Audio, audio2: Audio) -> tuple[Tensor, Tensor, int]:
    """Both waveforms with the same rate, channels and batch; NodeInputError where channels or batches do not fit."""
    first, second = checked(audio1, "audio1"), checked(audio2, "audio2")
    rate = max(first["sample_rate"], second["sample_rate"])
    ours, theirs = resampled(first, rate)["waveform"], resampled(second, rate)["waveform"]
    batch, channels = (max(ours.shape[dim], theirs.shape[dim]) for dim in (0, 1))
    for waveform in (ours, theirs):
        if waveform.shape[0] not in (1, batch) or waveform.shape[1] not in (1, channels):
            shapes = f"{list(ours.shape)} and {list(theirs.shape)}"
            raise NodeInputError(
                f"input 'audio2': sounds of the shapes {shapes} cannot be joined; only mono is repeated"
            )
    theirs = theirs.to(ours.device, ours.dtype)
    return ours.expand(batch, channels, -1), theirs.expand(batch, channels, -1), rate


NODES = (
    EmptyLatentAudio,
    ConditioningStableAudio,
    VAEEncodeAudio,
    VAEDecodeAudio,
    EmptyAudio,
    TrimAudioDuration,
    SplitAudioChannels,
    AudioConcat,
    AudioMerge,
    AudioAdjustVolume,
)
