"""Loaders whose networks are not here yet: they refuse, and say what would do."""

from __future__ import annotations

import pytest

from executor.errors import ModelFileError
from nodes.builtin.pending_loaders import ImageOnlyCheckpointLoader


def test_a_video_checkpoint_is_refused_with_what_would_do(place):
    file = place.folders.paths("checkpoints")[0] / "svd.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    with pytest.raises(ModelFileError, match=r"svd\.safetensors: .* not supported yet; .*CheckpointLoaderSimple"):
        ImageOnlyCheckpointLoader().load_checkpoint("svd.safetensors")
