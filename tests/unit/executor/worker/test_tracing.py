"""Where a trace cannot be written: an error, unless who asked for it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.messages import Run
from executor.worker.tracing import traced


@pytest.mark.parametrize(("place", "level"), [("gone/trace.json", "INFO"), (".", "ERROR")])
def test_a_folder_that_went_with_who_asked_is_no_error(tmp_path: Path, caplog, place, level):
    run = Run(job_id="a", prompt_json=b"{}", targets=(), row=0, trace=str(tmp_path / place))
    with caplog.at_level("INFO", logger="weft.worker"), traced(run):
        pass
    assert [record.levelname for record in caplog.records if record.name == "weft.worker"] == [level]
