"""Nodes of AUDIO values: what they compute, what they save, and what they read back."""

from __future__ import annotations

import json
import math

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor.contract.choices import listed
from executor.contract.v1 import describe
from executor.errors import NodeInputError, UnsafePath
from executor.inference.sound import read_sound, resampled, write_sound
from nodes.builtin.audio import (
    AudioAdjustVolume,
    AudioConcat,
    AudioMerge,
    ConditioningStableAudio,
    EmptyAudio,
    EmptyLatentAudio,
    SplitAudioChannels,
    TrimAudioDuration,
    VAEDecodeAudio,
    VAEEncodeAudio,
)
from nodes.builtin.audio_io import LoadAudio, PreviewAudio, RecordAudio, SaveAudio, SaveAudioMP3, SaveAudioOpus
from tests.unit.nodes.media_files import tone

PROMPT, EXTRA = {"1": {"class_type": "Ünï"}}, {"workflow": {"nodes": [1]}}


def sound(values, rate=8000):
    return {"waveform": torch.tensor(values, dtype=torch.float32), "sample_rate": rate}


def pitch(waveform, rate):
    """The strongest frequency of a mono row."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate / len(waveform))


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        kept = {key.lower(): text for key, text in {**container.metadata, **stream.metadata}.items()}
        return stream.codec.name, stream.rate, stream.channels, kept


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("node", "save", "quality", "ending", "codec"),
    [
        (SaveAudio, "save_flac", None, "flac", "flac"),
        (SaveAudioMP3, "save_mp3", "V0", "mp3", "mp3float"),
        (SaveAudioMP3, "save_mp3", "320k", "mp3", "mp3float"),
        (SaveAudioOpus, "save_opus", "64k", "opus", "opus"),
    ],
)
def test_sound_is_saved_with_the_prompt(place, node, save, quality, ending, codec):
    more = {} if quality is None else {"quality": quality}
    shown = getattr(node(), save)(tone(0.5, channels=2), "audio/s", PROMPT, EXTRA, **more)
    assert shown == {"ui": {"audio": [{"filename": f"s_00001_.{ending}", "subfolder": "audio", "type": "output"}]}}
    path = place.folders.root("output") / "audio" / f"s_00001_.{ending}"
    name, rate, channels, kept = read(path)
    assert (name, rate, channels) == (codec, 48000 if ending == "opus" else 44100, 2)
    assert (json.loads(kept["prompt"]), json.loads(kept["workflow"])) == (PROMPT, EXTRA["workflow"])
    again = read_sound(str(path))
    assert pitch(again["waveform"][0, 0].numpy(), rate) == pytest.approx(440, abs=6)
    assert float(again["waveform"].abs().max()) == pytest.approx(0.5, abs=0.05)


def test_flac_is_exact(place):
    audio = sound([[[0.0, 0.5, -0.5, 0.25]]])
    SaveAudio().save_flac(audio, "exact")
    again = read_sound(str(place.folders.root("output") / "exact_00001_.flac"))
    assert torch.allclose(again["waveform"], audio["waveform"], atol=2**-15)


def test_each_sound_of_a_batch_is_a_file(place):
    shown = SaveAudio().save_flac(tone(0.1, batch=3), "b%batch_num%")
    assert [file["filename"] for file in shown["ui"]["audio"]] == [
        "b0_00001_.flac", "b1_00002_.flac", "b2_00003_.flac",
    ]  # fmt: skip


def test_bit_rate_is_what_was_asked(place):
    sizes = []
    for quality in ("128k", "320k"):
        shown = SaveAudioMP3().save_mp3(tone(1.0), "q", quality=quality)
        path = place.folders.root("output") / shown["ui"]["audio"][0]["filename"]
        sizes.append(path.stat().st_size * 8 / 1000)
    assert sizes == pytest.approx([128, 320], rel=0.2)


def test_preview_lies_in_temp(place):
    (file,) = PreviewAudio().save_flac(tone(0.1))["ui"]["audio"]
    assert (place.folders.root("temp") / file["filename"]).is_file()


def test_prefix_may_not_leave_the_folder(place):
    with pytest.raises(UnsafePath):
        SaveAudio().save_flac(tone(0.1), "../evil")


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (None, "NoneType is no sound"),
        ({"waveform": torch.zeros(1, 4), "sample_rate": 8000}, r"\[batch, channels, samples\], not \[1, 4\]"),
        ({"waveform": torch.zeros(1, 1, 4), "sample_rate": 0}, "0 is no sample rate"),
        (tone(0.1, channels=9), "sound of 9 channels"),
    ],
)
def test_what_is_no_sound_is_said_and_leaves_nothing(place, audio, words):
    with pytest.raises(NodeInputError, match=words):
        SaveAudio().save_flac(audio, "x")
    assert list(place.folders.root("output").iterdir()) == []


def test_values_that_are_no_numbers_are_silent(place):
    SaveAudio().save_flac(sound([[[math.nan, 2.0, -math.inf]]]), "nan")
    again = read_sound(str(place.folders.root("output") / "nan_00001_.flac"))["waveform"][0, 0]
    assert again.tolist() == pytest.approx([0.0, 1.0, -1.0], abs=1e-4)


@pytest.fixture
def song(place):
    """A stereo sound in the input folder."""
    path = place.folders.root("input") / "song.flac"
    write_sound(path, tone(0.5, channels=2)["waveform"][0], 44100, "flac", "", {})
    return path


@pytest.mark.parametrize("node", [LoadAudio, RecordAudio])
def test_sound_is_loaded(place, song, node):
    (audio,) = node().load("song.flac [input]")
    assert (tuple(audio["waveform"].shape), audio["sample_rate"]) == ((1, 2, 22050), 44100)
    assert torch.allclose(audio["waveform"], tone(0.5, channels=2)["waveform"], atol=1e-3)
    assert node.IS_CHANGED("song.flac") == node.IS_CHANGED("song.flac [input]")


def test_part_of_a_sound_is_read(song):
    audio = read_sound(str(song), start_s=0.2, seconds=0.1)
    begin = round(0.2 * 44100)  # within a piece of 4608 samples
    assert torch.allclose(audio["waveform"], tone(0.5, channels=2)["waveform"][..., begin : begin + 4410], atol=1e-3)


def test_sound_from_behind_the_end_on_is_empty(song):
    assert tuple(read_sound(str(song), start_s=9.0)["waveform"].shape) == (1, 2, 0)


def test_damaged_sound_is_named(place):
    (place.folders.root("input") / "bad.mp3").write_bytes(b"\xff" * 40)
    with pytest.raises(NodeInputError, match=r"bad\.mp3 cannot be read as video or sound"):
        LoadAudio().load("bad.mp3")


def test_silent_video_has_no_sound(place):
    from nodes.builtin.video import CreateVideo

    CreateVideo().create(torch.zeros(2, 8, 8, 3), 8.0)[0].save_to(str(place.folders.root("input") / "v.mp4"))
    with pytest.raises(NodeInputError, match=r"v\.mp4 holds no sound"):
        LoadAudio().load("v.mp4")


def test_nothing_recorded_is_said(place):
    with pytest.raises(NodeInputError, match="nothing was recorded"):
        RecordAudio().load("")


def test_sounds_and_videos_are_listed(place):
    for name in ("a.mp3", "b.wav", "c.flac", "d.opus", "e.mp4", "f.png", "g.m4a"):
        (place.folders.root("input") / name).touch()
    found = describe("LoadAudio", LoadAudio).input("audio")
    assert listed(found.choices, place.folders) == ["a.mp3", "b.wav", "c.flac", "d.opus", "e.mp4", "g.m4a"]
    assert LoadAudio.VALIDATE_INPUTS("z.mp3") == "Invalid audio file: z.mp3"


# ---------------------------------------------------------------- values


def test_silence():
    (audio,) = EmptyAudio().create(0.5, 8000, 2)
    assert (tuple(audio["waveform"].shape), audio["sample_rate"]) == ((1, 2, 4000), 8000)
    assert not audio["waveform"].any()
    with pytest.raises(NodeInputError, match="0 is no sample rate"):
        EmptyAudio().create(0.5, 0, 2)


@pytest.mark.parametrize(
    ("start", "duration", "kept"), [(0.0, 60.0, (0, 8)), (2.0, 3.0, (2, 5)), (-3.0, 2.0, (5, 7)), (-99.0, 1.0, (0, 1))]
)
def test_sound_is_trimmed(start, duration, kept):
    (audio,) = TrimAudioDuration().trim(sound([[list(range(8))]], 1), start, duration)
    assert audio["waveform"].flatten().tolist() == list(range(*kept))


@pytest.mark.parametrize(("start", "duration"), [(8.0, 1.0), (0.0, 0.0), (1e18, 1.0)])
def test_empty_rest_is_said(start, duration):
    with pytest.raises(NodeInputError, match="nothing is left of 8"):
        TrimAudioDuration().trim(sound([[list(range(8))]], 1), start, duration)


@given(st.floats(-20, 20), st.floats(0, 20))
def test_trimming_never_gives_more_than_asked(start, duration):
    try:
        (audio,) = TrimAudioDuration().trim(sound([[[0.0] * 16]], 2), start, duration)
    except NodeInputError:
        return
    assert 0 < audio["waveform"].shape[-1] <= min(16, duration * 2 + 0.5)


def test_channels_are_split():
    left, right = SplitAudioChannels().separate(sound([[[1, 2], [3, 4]]]))
    assert (left["waveform"].tolist(), right["waveform"].tolist()) == ([[[1, 2]]], [[[3, 4]]])
    same = SplitAudioChannels().separate(sound([[[1, 2]]]))
    assert same[0]["waveform"].tolist() == same[1]["waveform"].tolist() == [[[1, 2]]]
    with pytest.raises(NodeInputError, match="this sound has 3 channels"):
        SplitAudioChannels().separate(sound([[[1], [2], [3]]]))


@pytest.mark.parametrize(("direction", "joined"), [("after", [1, 2, 3]), ("before", [3, 1, 2])])
def test_sounds_are_put_in_a_row(direction, joined):
    (audio,) = AudioConcat().concat(sound([[[1, 2]]]), sound([[[3]]]), direction)
    assert audio["waveform"].flatten().tolist() == joined


def test_mono_joins_stereo_and_slow_joins_fast():
    (audio,) = AudioConcat().concat(tone(0.5, 8000), tone(0.5, 16000, channels=2), "after")
    assert (tuple(audio["waveform"].shape), audio["sample_rate"]) == ((1, 2, 16000), 16000)
    assert pitch(audio["waveform"][0, 0, :8000].numpy(), 16000) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("add", [0.5, 0.25, 0.5]), ("mean", [0.25, 0.125, 0.25]), ("subtract", [0.0, 0.25, 0.5]),
     ("multiply", [0.0625, 0.0, 0.0])],
)  # fmt: skip
def test_sounds_are_mixed_over_the_first(method, expected):
    (audio,) = AudioMerge().merge(sound([[[0.25, 0.25, 0.5]]]), sound([[[0.25]]]), method)
    assert audio["waveform"].flatten().tolist() == expected


def test_mix_does_not_pass_full_scale():
    (audio,) = AudioMerge().merge(sound([[[1.0, -0.5]]]), sound([[[1.0, 0.0, 9.0]]]), "add")
    assert audio["waveform"].flatten().tolist() == [1.0, -0.25]


def test_sounds_that_do_not_fit_are_refused():
    with pytest.raises(NodeInputError, match=r"\[1, 2, 1\] and \[1, 3, 1\] cannot be joined"):
        AudioMerge().merge(sound([[[0.0]] * 2]), sound([[[0.0]] * 3]), "add")


@pytest.mark.parametrize(("decibels", "factor"), [(0, 1.0), (20, 10.0), (-20, 0.1), (6, 10**0.3)])
def test_volume_is_in_decibels(decibels, factor):
    (audio,) = AudioAdjustVolume().adjust_volume(sound([[[0.1]]]), decibels)
    assert float(audio["waveform"]) == pytest.approx(0.1 * factor)


@given(st.sampled_from([8000, 11025, 22050, 44100, 48000]), st.sampled_from([8000, 16000, 44100, 48000]))
def test_resampling_keeps_length_and_pitch(before, after):
    changed = resampled(tone(0.25, before), after)
    assert changed["waveform"].shape[-1] == pytest.approx(0.25 * after, abs=1)
    assert pitch(changed["waveform"][0, 0].numpy(), after) == pytest.approx(440, abs=6)


# ---------------------------------------------------------------- latents


@pytest.mark.parametrize(("seconds", "cells"), [(47.6, 1024), (1.0, 22), (10.0, 216)])
def test_empty_latent(seconds, cells):
    (latent,) = EmptyLatentAudio().generate(seconds, 2)
    assert (tuple(latent["samples"].shape), latent["type"]) == ((2, 64, cells), "audio")


def test_times_are_told_to_both_sides():
    sides = ConditioningStableAudio().append([[torch.zeros(1), {"a": 1}]], [[torch.ones(1), {}]], 1.0, 30.0)
    assert [side[0][1] for side in sides] == [
        {"a": 1, "seconds_start": 1.0, "seconds_total": 30.0}, {"seconds_start": 1.0, "seconds_total": 30.0},
    ]  # fmt: skip


class SoundVae:
    """Keeps every second sample."""

    audio_sample_rate = 16000

    def encode(self, waveform):
        return waveform.movedim(-1, 1)[..., ::2]

    def decode(self, samples):
        return samples.repeat_interleave(2, dim=-1).movedim(1, -1)


def test_vae_of_sound_goes_both_ways():
    (latent,) = VAEEncodeAudio().encode(SoundVae(), tone(0.5, 8000, channels=2))
    assert tuple(latent["samples"].shape) == (1, 2, 4000)
    (audio,) = VAEDecodeAudio().decode(SoundVae(), latent)
    assert (tuple(audio["waveform"].shape), audio["sample_rate"]) == ((1, 2, 8000), 16000)


def test_vae_of_pictures_is_refused():
    with pytest.raises(NodeInputError, match="knows pictures, not sound"):
        VAEEncodeAudio().encode(object(), tone(0.1))
    with pytest.raises(NodeInputError, match="knows pictures, not sound"):
        VAEDecodeAudio().decode(object(), {"samples": torch.zeros(1, 4, 8, 8)})
