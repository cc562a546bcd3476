"""What nodes are told of model files that are not there."""

from __future__ import annotations

import pytest

from executor.errors import ModelFileError
from nodes.builtin.services import model_path


def folder(place):
    checkpoints = place.folders.models / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    return checkpoints


def test_missing_model_file_names_input_and_nearest_file(place):
    folder(place).joinpath("paint.safetensors").touch()
    with pytest.raises(
        ModelFileError, match=r"pain\.safetensors: input 'ckpt_name'.*did you mean 'paint\.safetensors'"
    ):
        model_path("checkpoints", "pain.safetensors", "ckpt_name")


def test_broken_link_is_not_suggested_for_itself(place):
    folder(place).joinpath("gone.safetensors").symlink_to("/no/such/file")
    with pytest.raises(ModelFileError) as caught:
        model_path("checkpoints", "gone.safetensors", "ckpt_name")
    assert "did you mean" not in str(caught.value)
