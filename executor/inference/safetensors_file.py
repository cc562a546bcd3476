"""Safetensors files: the names, types, shapes and places in their header, and their tensors, mapped from disk.

The library checks a file; the tensors are made here, since its own way takes longer for each than touching its bytes.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.reading_ahead import read_ahead

FITS = "a .safetensors file, or a .ckpt/.pt file that holds tensors only, fits here"
LENGTH_BYTES = 8
LONGEST_WORDS = 40
TEXTS = "__metadata__"
TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The number types that weights are kept in; of others the library makes the tensors."""


class Entry(TypedDict):
    """What a header says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]  # of its first byte and the one behind its last, from the header's end on


def read_safetensors(path: Path, start: bytes) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors of a file that begins with `start`, mapped from disk, and the text metadata of its header.

    Raises ModelFileError when the file is truncated, or none.
    """
    header, place = read_header(path, start)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names: list[str] = file.keys()
            foreign = {name: file.get_tensor(name) for name in names if header[name]["dtype"] not in TYPES}
            metadata: Mapping[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ModelFileError(path, f"is not a whole safetensors file ({error})", FITS) from error
    mapped = cast(torch.UntypedStorage, torch.UntypedStorage.from_file(str(path), False, path.stat().st_size))
    read_ahead(mapped)
    tensors = {name: foreign[name] if name in foreign else tensor_of(mapped, place, header[name]) for name in names}
    return tensors, metadata


def tensor_of(mapped: torch.UntypedStorage, place: int, entry: Entry) -> Tensor:
    """One tensor of a mapped file whose header ends at `place`, as a storage of its own: saved, it takes no others."""
    first, end = entry["data_offsets"]
    own: torch.UntypedStorage = mapped[place + first : place + end]
    empty = torch.empty(0, dtype=TYPES[entry["dtype"]])
    tensor: Tensor = empty.set_(own, 0, entry["shape"])  # type: ignore[call-overload]  # without strides: rows in order
    return tensor


def read_header(path: Path, start: bytes) -> tuple[dict[str, Entry], int]:
    """What a file's header says of its tensors, and where it ends, once the file's size is what it promises.

    Raises ModelFileError naming both sizes when bytes are missing, or when there is no such header.
    """
    size = path.stat().st_size
    length = struct.unpack("<Q", start[:LENGTH_BYTES])[0] if len(start) >= LENGTH_BYTES else 0
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{" or length < 2:
        raise ModelFileError(path, unknown_kind(path, start), FITS)
    place = LENGTH_BYTES + length
    if place > size:
        raise ModelFileError(path, f"is truncated: it ends after {size} bytes, inside its header", FITS)
    with path.open("rb") as file:
        file.seek(LENGTH_BYTES)
        try:
            header = cast("dict[str, Entry]", json.loads(file.read(length)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != TEXTS]
            promised = place + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ModelFileError(path, "is not a safetensors file: its header cannot be read", FITS) from error
    if size < promised:
        raise ModelFileError(path, f"is truncated: it has {size} of {promised} bytes", "download it again")
    return header, place


def has_safetensors_header(start: bytes) -> bool:
    """Whether a file starts with a believable length and a JSON object; the length's first byte may be anything."""
    return start[8:9] == b"{" and start[5:8] == b"\0\0\0"


def unknown_kind(path: Path, start: bytes) -> str:
    """What a file is that begins as no weights do: a text, told by its first words, or what its name does not say."""
    text = start.decode("utf-8", "ignore")
    if len(text.encode()) >= len(start) - 3 and all(letter.isprintable() or letter in "\t\r\n" for letter in text):
        words = (text.strip().splitlines() or [""])[0][:LONGEST_WORDS]
        return f"is a text file, no weights: it begins {words!r}; most likely the answer to a failed download"
    if path.suffix in (".safetensors", ".sft"):
        return "is not a safetensors file: its header is missing"
    return "is no weights file: it begins neither as torch's files do nor as safetensors files"
