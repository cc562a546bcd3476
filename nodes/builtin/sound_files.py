"""How sounds are written into the data folders. Knows no node."""

from __future__ import annotations

from collections.abc import Mapping

from executor import context
from executor.errors import NodeInputError
from executor.files import BATCH_TOKEN, SaveName
from executor.inference.sound import SOUND_FORMATS, checked, write_sound
from executor.inference.values import Audio
from nodes.builtin.picture_files import Saved, whole


def write_sounds(
    audio: Audio, name: SaveName, kind: str, ending: str, quality: str, texts: Mapping[str, str]
) -> list[Saved]:
    """Write each sound of a batch as a file of its own (flac, mp3, opus), and tell the files.

    NodeInputError for another ending, or for what is no sound.
    """
    found = checked(audio)
    if ending not in SOUND_FORMATS:
        raise NodeInputError(f"sound is written as {', '.join(SOUND_FORMATS)}, not {ending!r}")
    saved: list[Saved] = []
    for number, waveform in enumerate(found["waveform"]):
        context.current().check_interrupt()
        filename = f"{name.stem.replace(BATCH_TOKEN, str(number))}_{name.counter + number:05}_.{ending}"
        with whole(name.folder / filename) as part:
            write_sound(part, waveform, found["sample_rate"], ending, quality, texts)
        saved.append({"filename": filename, "subfolder": name.subfolder, "type": kind})
    return saved
