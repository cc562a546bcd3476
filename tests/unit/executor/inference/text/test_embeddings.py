"""Where embeddings are looked for and which vectors are taken."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from executor.inference.text.embeddings import Embeddings

VECTORS = torch.arange(8.0).reshape(2, 4)


@pytest.fixture
def embeddings(tmp_path):
    """Embeddings in a folder below tmp_path."""
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    return Embeddings(folders=[tmp_path / "empty", tmp_path / "inside"])


@pytest.mark.parametrize("name", ["style", "style.safetensors"])
def test_found_with_and_without_ending(embeddings, tmp_path, name):
    save_file({"emb_params": VECTORS}, tmp_path / "inside" / "style.safetensors")
    assert torch.equal(embeddings.read(name), VECTORS)


def test_found_in_subfolders(embeddings, tmp_path):
    save_file({"emb_params": VECTORS}, tmp_path / "inside" / "sub" / "style.safetensors")
    assert torch.equal(embeddings.read("sub/style"), VECTORS)


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret"])
def test_names_that_lead_out_find_nothing(embeddings, tmp_path, name):
    save_file({"emb_params": VECTORS}, tmp_path / "secret.safetensors")
    assert embeddings.read(name) is None


def test_links_inside_the_folder_are_followed(embeddings, tmp_path):
    save_file({"emb_params": VECTORS}, tmp_path / "elsewhere.safetensors")
    (tmp_path / "inside" / "linked.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    assert torch.equal(embeddings.read("linked"), VECTORS)


def test_absolute_names_find_nothing(embeddings, tmp_path):
    save_file({"emb_params": VECTORS}, tmp_path / "secret.safetensors")
    assert embeddings.read(str(tmp_path / "secret")) is None


@pytest.mark.parametrize(
    "content",
    [{"string_to_param": {"*": VECTORS}}, {"<style>": VECTORS}],
    ids=["as trained by the inversion's authors", "one tensor of any name"],
)
def test_old_torch_files_are_read(embeddings, tmp_path, content):
    torch.save(content, tmp_path / "inside" / "old.pt")
    assert torch.equal(embeddings.read("old"), VECTORS)


def test_a_file_for_two_encoders_gives_each_its_own(embeddings, tmp_path):
    save_file({"clip_g": torch.zeros(2, 9), "clip_l": VECTORS}, tmp_path / "inside" / "xl.safetensors")
    assert torch.equal(embeddings.read("xl"), VECTORS)


def test_one_vector_is_one_row(embeddings, tmp_path):
    save_file({"emb_params": VECTORS[0]}, tmp_path / "inside" / "one.safetensors")
    assert embeddings.read("one").shape == (1, 4)


def test_a_file_for_other_encoders_gives_its_first_vectors(embeddings, tmp_path):
    save_file({"clip_g": VECTORS, "clip_h": torch.zeros(2, 9)}, tmp_path / "inside" / "others.safetensors")
    assert torch.equal(embeddings.read("others"), VECTORS)


def test_a_file_without_vectors_is_left_out(embeddings, tmp_path, caplog):
    save_file({"step": torch.zeros(3, dtype=torch.int64)}, tmp_path / "inside" / "none.safetensors")
    with caplog.at_level(logging.WARNING, "weft.inference"):
        assert embeddings.read("none") is None
    assert "none ignored: its file holds no vectors" in caplog.text


def test_a_broken_file_is_left_out(embeddings, tmp_path, caplog):
    (tmp_path / "inside" / "broken.pt").write_bytes(b"nothing of use")
    with caplog.at_level(logging.WARNING, "weft.inference"):
        assert embeddings.read("broken") is None
    assert "broken.pt" in caplog.text
