"""Reads weight files into named tensors, memory-mapped and without running code. Knows nothing of what they are for."""

import json
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.safetensors_file import FITS, has_safetensors_header, read_safetensors
from executor.inference.seams import seam

PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
CONFIG_KEY = "weft.config"
# first bytes of files that are often saved under a model's name
FOREIGN_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer; fetch the real file (git lfs pull)"),
    (b"<!doctype", "is a web page, most likely the answer to a failed download"),
    (b"<html", "is a web page, most likely the answer to a failed download"),
    (b"GGUF", "is a GGUF file, which this version does not read"),
    (b"\x89PNG", "is a picture"),
    (b"\xff\xd8\xff", "is a picture"),
)
ZIP_START, PICKLE_START = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """Tensors of one file by their original names, and the text metadata of its header."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> Mapping[str, object]:
        """The JSON object under `weft.config` in the header; empty where there is none.

        Raises ModelFileError when the text is no JSON object.
        """
        try:
            config = json.loads(self.metadata.get(CONFIG_KEY, "{}"))
        except ValueError as error:
            raise ModelFileError(self.path, f"the metadata key {CONFIG_KEY!r} is not JSON ({error})") from error
        if not isinstance(config, dict):
            raise ModelFileError(self.path, f"the metadata key {CONFIG_KEY!r} is not a JSON object")
        return config


@seam("utils.load_torch_file")
def load_torch_file(
    ckpt: str, safe_load: bool = False, device: torch.device | None = None, return_metadata: bool = False
) -> object:
    """What a weight file holds, as packs read it: names to tensors, or that with the header's text metadata.

    Pickles are read without running code, whatever `safe_load` says. Raises ModelFileError as `read_weights`.
    """
    file = _read(Path(ckpt))
    tensors = dict(file.tensors)
    if device is not None and torch.device(device).type != "cpu":
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return (tensors, dict(file.metadata) or None) if return_metadata else tensors


def read_weights(path: Path) -> WeightFile:
    """The tensors of a safetensors or torch file, mapped from disk: nothing is copied until it is used.

    Of a file that was saved in parts, any part stands for all. Raises ModelFileError when the file or one of its parts
    is missing, truncated, foreign, or holds more than tensors.
    """
    files = [_read_seen(part) for part in parts_of(path)]
    tensors = {name: tensor for file in files for name, tensor in file.tensors.items()}
    return WeightFile(path=path, tensors=tensors, metadata=files[0].metadata) if len(files) > 1 else files[0]


def parts_of(path: Path) -> list[Path]:
    """The files that a file was saved as, `name-00001-of-00003`, in order; itself where it is whole.

    Raises ModelFileError naming the first part that is missing.
    """
    found = PART.fullmatch(path.name)
    if found is None:
        return [path]
    stem, number, count, ending = found.groups()
    parts = [path.with_name(f"{stem}-{place:05}-of-{count}{ending}") for place in range(1, int(count) + 1)]
    missing = next((part for part in parts if not part.is_file()), None)
    if missing is not None and path.is_file():
        reason = f"is part {int(number)} of {int(count)}, and {missing.name} is not beside it"
        raise ModelFileError(path, reason, "put all parts into one folder")
    return parts if missing is None else [path]


def _read_seen(path: Path) -> WeightFile:
    """One file, by the function that a pack put in the place of `load_torch_file` where there is one."""
    if not load_torch_file.is_replaced:
        return _read(path)
    answer = load_torch_file(str(path), return_metadata=True)
    tensors, metadata = answer if isinstance(answer, tuple) else (answer, {})
    return WeightFile(path=path, tensors=tensors, metadata=metadata or {})


def _read(path: Path) -> WeightFile:
    start = first_bytes(path)
    refuse_foreign(path, start)
    if start.startswith((ZIP_START, PICKLE_START)) and not has_safetensors_header(start):
        return WeightFile(path=path, tensors=read_torch(path, zipped=start.startswith(ZIP_START)))
    tensors, metadata = read_safetensors(path, start)
    return WeightFile(path=path, tensors=tensors, metadata=metadata)


def first_bytes(path: Path) -> bytes:
    """The first 64 bytes of a file.

    Raises ModelFileError when there is no such file, it cannot be read, or it is empty.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ModelFileError(path, f"cannot be read ({error.strerror})") from error
    if not start:
        raise ModelFileError(path, "is empty", FITS)
    return start


def refuse_foreign(path: Path, start: bytes) -> None:
    """Raise ModelFileError for well-known files that are no weights."""
    for signature, what in FOREIGN_STARTS:
        if start[: len(signature)].lower() == signature.lower():
            raise ModelFileError(path, what, FITS)


def read_torch(path: Path, *, zipped: bool) -> dict[str, Tensor]:
    """The tensors of a file written by torch.save; ModelFileError as `unpickled`, or when it holds none."""
    return named_tensors(path, unpickled(path, zipped=zipped))


def read_objects(path: Path) -> Mapping[object, object]:
    """What a file written by torch.save holds under its names: tensors, numbers, texts, lists and mappings.

    A safetensors file holds tensors only. Raises ModelFileError as `read_weights`.
    """
    start = first_bytes(path)
    refuse_foreign(path, start)
    if not start.startswith((ZIP_START, PICKLE_START)) or has_safetensors_header(start):
        return {name: tensor for name, tensor in read_weights(path).tensors.items()}
    content = unpickled(path, zipped=start.startswith(ZIP_START))
    if not isinstance(content, Mapping):
        raise ModelFileError(path, "holds no named values", FITS)
    return content


def unpickled(path: Path, *, zipped: bool) -> object:
    """What a file written by torch.save holds, by an unpickler that knows only tensors and plain values.

    Raises ModelFileError when the file is broken or holds objects that would run code.
    """
    # given a path, torch.load goes by its ending and not by what is in the file; only a path can be mapped
    mapped = zipped and path.suffix != ".safetensors"
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols; what cannot be read raises
            with torch.serialization.safe_globals(harmless()):
                content: object = torch.load(
                    path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped
                )
    except pickle.UnpicklingError as error:
        reason = "is a pickle that holds more than tensors; loading it could run code, so it is refused"
        raise ModelFileError(path, reason, FITS) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, EOFError) or "central directory" in str(error):
            raise ModelFileError(path, "is truncated: its end is missing", "download it again") from error
        raise ModelFileError(path, f"is not a whole torch file ({first_line(error)})", FITS) from error
    return content


class Forgotten:
    """What stands for an object of a training that says nothing of the weights."""

    def __init__(self, *values: object) -> None:
        """Keep nothing."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


def harmless() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """What trainings of 2022 left in their checkpoints beside tensors, each as something that does nothing.

    Stable Diffusion's own .ckpt files hold the name of Lightning's ModelCheckpoint, and NumPy numbers beside it.
    """
    return [(Forgotten, name) for name in LEFTOVERS]


LEFTOVERS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.dtypes.Float64DType",
)


def named_tensors(path: Path, content: object) -> dict[str, Tensor]:
    """The mapping of names to tensors within a torch file, looked for under `state_dict` too.

    Raises ModelFileError when there is none.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if isinstance(content, Mapping):
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        tensors |= nested_tensors(content)
        if tensors:
            return tensors
    raise ModelFileError(path, "holds no named tensors", FITS)


def nested_tensors(content: Mapping[object, object]) -> dict[str, Tensor]:
    """Tensors one level down, named with a dot; textual inversions are stored so (`string_to_param.*`)."""
    return {
        f"{outer}.{inner}": value
        for outer, part in content.items()
        if isinstance(part, Mapping)
        for inner, value in part.items()
        if isinstance(value, Tensor)
    }


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
