"""The tensors of safetensors files: equal to the bit, of every type, wherever they lie, each for itself."""

import io
import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from executor.inference.weights import read_weights


def bits(tensor: torch.Tensor) -> list[int]:
    """The bytes of a tensor."""
    return tensor.contiguous().view(-1).view(torch.uint8).tolist()


TYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "int64",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
]


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in TYPES], ids=TYPES)
def test_tensors_of_every_type_are_equal_to_the_bit(tmp_path, dtype):
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    save_file({"a": torch.ones(3), "b": tensor}, tmp_path / "m.safetensors")
    read = read_weights(tmp_path / "m.safetensors").tensors["b"]
    assert (read.dtype, read.shape, bits(read)) == (dtype, tensor.shape, bits(tensor))


def test_numbers_and_tensors_of_nothing_keep_their_shapes(tmp_path):
    save_file({"number": torch.tensor(2.5), "nothing": torch.zeros(3, 0)}, tmp_path / "m.safetensors")
    tensors = read_weights(tmp_path / "m.safetensors").tensors
    assert tensors["number"].item() == 2.5
    assert tensors["nothing"].shape == (3, 0)


def test_tensors_may_lie_at_odd_places(tmp_path):
    entries = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    header = json.dumps(entries).encode()
    content = struct.pack("<Q", len(header)) + header + b"\x07" + struct.pack("<2f", 1.5, -2.0)
    (tmp_path / "m.safetensors").write_bytes(content)
    assert read_weights(tmp_path / "m.safetensors").tensors["b"].tolist() == [1.5, -2.0]


def test_a_tensor_that_is_saved_takes_no_others_along(tmp_path):
    save_file({"small": torch.zeros(4), "large": torch.zeros(100_000)}, tmp_path / "m.safetensors")
    saved = io.BytesIO()
    torch.save(read_weights(tmp_path / "m.safetensors").tensors["small"], saved)
    assert saved.tell() < 10_000


def test_writing_into_a_tensor_leaves_the_file_as_it_is(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(4)}, path)
    before = path.read_bytes()
    read_weights(path).tensors["a"].fill_(1.0)
    assert path.read_bytes() == before
