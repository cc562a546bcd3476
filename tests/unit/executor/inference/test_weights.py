"""Reading weight files: what is read, what is refused and with which words."""

import json
import pickle
import re
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from executor.errors import ModelFileError
from executor.inference.weights import read_weights

WEIGHT = torch.arange(6.0).reshape(2, 3)


def refusal(path: Path) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ModelFileError) as refused:
        read_weights(path)
    return str(refused.value)


def test_reads_tensors_of_safetensors(tmp_path):
    save_file({"a": WEIGHT}, tmp_path / "m.safetensors")
    assert torch.equal(read_weights(tmp_path / "m.safetensors").tensors["a"], WEIGHT)


def test_reads_metadata_of_safetensors(tmp_path):
    save_file({"a": WEIGHT}, tmp_path / "m.safetensors", {"made_by": "me"})
    assert read_weights(tmp_path / "m.safetensors").metadata["made_by"] == "me"


def test_safetensors_are_mapped_not_copied(tmp_path):
    save_file({"a": WEIGHT, "b": WEIGHT + 1}, tmp_path / "m.safetensors")
    tensors = read_weights(tmp_path / "m.safetensors").tensors
    # the tensors are neighbours in memory as they are in the file
    assert tensors["b"].data_ptr() - tensors["a"].data_ptr() == WEIGHT.nbytes


@pytest.mark.parametrize("content", [{"a": WEIGHT}, {"state_dict": {"a": WEIGHT}, "epoch": 3}])
def test_reads_torch_files(tmp_path, content):
    torch.save(content, tmp_path / "m.ckpt")
    assert torch.equal(read_weights(tmp_path / "m.ckpt").tensors["a"], WEIGHT)


def test_reads_torch_files_of_the_old_format(tmp_path):
    torch.save({"a": WEIGHT}, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "m.pt").tensors["a"], WEIGHT)


@pytest.mark.parametrize("padding", range(0, 256, 8))
def test_a_header_of_any_length_is_read(tmp_path, padding):
    # a length of 128 starts with the byte that pickles start with
    save_file({"a": WEIGHT}, tmp_path / "m.safetensors", {"note": "x" * padding})
    assert torch.equal(read_weights(tmp_path / "m.safetensors").tensors["a"], WEIGHT)


def test_goes_by_content_not_by_name(tmp_path):
    torch.save({"a": WEIGHT}, tmp_path / "renamed.safetensors")
    assert torch.equal(read_weights(tmp_path / "renamed.safetensors").tensors["a"], WEIGHT)


def test_reads_tensors_one_level_down(tmp_path):
    torch.save({"string_to_param": {"*": WEIGHT}}, tmp_path / "e.pt")
    assert list(read_weights(tmp_path / "e.pt").tensors) == ["string_to_param.*"]


def test_config_of_the_header(tmp_path):
    save_file({"a": WEIGHT}, tmp_path / "m.safetensors", {"weft.config": '{"unet": {"heads": 4}}'})
    assert read_weights(tmp_path / "m.safetensors").config() == {"unet": {"heads": 4}}


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_refuses_a_config_that_is_no_object(tmp_path, text):
    save_file({"a": WEIGHT}, tmp_path / "m.safetensors", {"weft.config": text})
    with pytest.raises(ModelFileError, match=r"m\.safetensors: the metadata key 'weft\.config' is not"):
        read_weights(tmp_path / "m.safetensors").config()


def test_names_a_missing_file(tmp_path):
    assert refusal(tmp_path / "none.safetensors").startswith("none.safetensors: cannot be read")


FOREIGN = {
    b"": "is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "Git LFS pointer",
    b"<!DOCTYPE html><title>Log in</title>": "is a web page",
    b"GGUF\x03\x00\x00\x00": "GGUF",
    b"just some words, nothing else": "is a text file, no weights: it begins 'just some words, nothing else'",
    b'  {"error": "Invalid username or password."}\n' + b"x" * 99: "is a text file, no weights: it begins '{",
    "Ünlesbar, aber Text: ".encode() * 9: "is a text file",
    b"\x00\x01\x02abc": "not a safetensors file",
    struct.pack("<Q", 10) + b"{not json}": "header cannot be read",
    struct.pack("<Q", 99) + b'{"a":': "is truncated",
    b"PK\x03\x04 broken zip": "not a whole torch file",
    b"\x80 broken pickle": "is not a whole torch file",
}


@pytest.mark.parametrize(("content", "reason"), FOREIGN.items(), ids=FOREIGN.values())
def test_says_why_a_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert reason in refusal(path)


def test_says_how_much_of_a_truncated_file_is_there(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    assert f"it has {whole - 100} of {whole} bytes" in refusal(path)


def test_refuses_offsets_that_are_no_numbers(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "x"]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "header cannot be read" in refusal(tmp_path / "m.safetensors")


class Trap:
    """An object whose unpickling would call a function."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_refuses_pickles_that_would_run_code(tmp_path, capsys):
    (tmp_path / "m.pt").write_bytes(pickle.dumps({"a": Trap()}))
    assert "could run code, so it is refused" in refusal(tmp_path / "m.pt")
    assert capsys.readouterr().out == ""


@pytest.fixture
def lightning(monkeypatch):
    """A class of the name that Stable Diffusion's own checkpoints hold."""
    package = ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    package.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": package.__name__})
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    return package.ModelCheckpoint


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_trainings_of_2022_left(tmp_path, lightning, zipped):
    best = {"best_model_score": np.float64(0.25), "best_model_path": "x"}
    content = {"state_dict": {"a": WEIGHT}, "callbacks": {lightning: best}, "lr_schedulers": [np.float64(1.0)]}
    torch.save(content, tmp_path / "sd.ckpt", _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_weights(tmp_path / "sd.ckpt").tensors["a"], WEIGHT)


@pytest.mark.parametrize("zipped", [True, False])
def test_says_that_the_end_of_a_torch_file_is_missing(tmp_path, zipped):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "m.ckpt").write_bytes(content[: len(content) // 2])
    assert re.search("is truncated: its end is missing|is not a whole torch file", refusal(tmp_path / "m.ckpt"))


def test_a_file_in_parts_is_read_whole_by_any_of_them(tmp_path):
    names = [tmp_path / f"m-0000{n}-of-00002.safetensors" for n in (1, 2)]
    save_file({"a": WEIGHT}, names[0], {"made_by": "me"})
    save_file({"b": WEIGHT + 1}, names[1])
    for name in names:
        file = read_weights(name)
        assert sorted(file.tensors) == ["a", "b"]
        assert torch.equal(file.tensors["b"], WEIGHT + 1)
        assert file.metadata["made_by"] == "me"


def test_a_missing_part_is_named(tmp_path):
    save_file({"a": WEIGHT}, tmp_path / "m-00001-of-00003.safetensors")
    save_file({"b": WEIGHT}, tmp_path / "m-00003-of-00003.safetensors")
    expected = "is part 3 of 3, and m-00002-of-00003.safetensors is not beside it; put all parts into one folder"
    assert expected in refusal(tmp_path / "m-00003-of-00003.safetensors")


def test_refuses_torch_files_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "m.pt")
    assert "holds no named tensors" in refusal(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["a.pth", "a.ckpt", "a.pt"])
def test_a_file_of_a_torch_file_s_name_is_not_called_a_safetensors_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\x01\x02" * 30)
    with pytest.raises(ModelFileError, match="begins neither as torch's files do nor as safetensors"):
        read_weights(tmp_path / name)
    (tmp_path / name).write_text("404: Not Found")
    with pytest.raises(ModelFileError, match="is a text file, no weights: it begins '404: Not Found'"):
        read_weights(tmp_path / name)
