"""Every case of the recorded numbers at its tolerance, none skipped unseen, and other recordings read as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from executor.inference.noise import prepare_noise
from tests.parity import full, left_out, table
from tests.parity.__main__ import main
from tests.parity.nodes import registry
from tests.parity.recording import SHIPPED, Check, Figure, Recording
from tests.parity.shared import Found, Shared

RECORDING = Recording(SHIPPED)
CHECKS = list(table.checks(RECORDING))
BY_ONE_OF_SEVERAL = {"samplers_variants"}  # its cases stand for every kind of model and sampler


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """What comparing the cases gave, each compared by one process of the run."""
    own = tmp_path_factory.getbasetemp()
    return Shared(RECORDING, CHECKS, own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.mark.parametrize("index", range(len(CHECKS)), ids=[f"{check.file}:{check.name}" for check in CHECKS])
def test_a_case_is_as_recorded(shared: Shared, index: int) -> None:
    found = shared.of(index)
    assert found.passed, found.told


@pytest.mark.parametrize("file", sorted(path.stem for path in SHIPPED.glob("*.json")))
def test_every_case_of_a_file_is_claimed(file: str) -> None:
    described = RECORDING.described(file)
    claimed = {check.name for check in (*CHECKS, *full.checks(RECORDING)) if check.file == file}
    cases = described.get("cases", {})
    names = {str(number) for number in range(len(cases))} if isinstance(cases, list) else set(cases)
    answered = {name for name in names if isinstance(cases, list) or "error" not in cases[name]}
    if file in BY_ONE_OF_SEVERAL:
        claimed = {f"*/*/{name.split('/', 2)[2]}" for name in claimed}
    assert answered - claimed == set()


def test_every_recorded_tensor_is_looked_at(shared: Shared) -> None:
    failed = [check for index, check in enumerate(CHECKS) if not shared.of(index).compared]
    unseen = []
    for file in sorted({check.file for check in CHECKS}):
        tensors = RECORDING.tensors(file)
        pattern, _ = left_out.TENSORS.get(file, ("(?!)", ""))
        cases = RECORDING.described(file).get("cases", {})
        refused = [name for name in cases if isinstance(cases, dict) and "error" in cases[name]]
        waiting = [check.name for check in failed if check.file == file]
        skipped = set(RECORDING.described(file).get("nonfinite", ()))
        unseen += [
            f"{file}: {key}"
            for key in sorted(set(tensors) - shared.seen.get(file, set()) - skipped)
            if not re.fullmatch(pattern, key)
            and not key.startswith((*(f"{name}/" for name in waiting), *waiting, *refused, "in/"))
        ]
    assert unseen == []


def test_what_another_process_compared_is_taken_over(tmp_path: Path) -> None:
    looked: list[str] = []

    def measure():
        looked.append("here")
        yield Figure(part="out", error=2.0, bound=1.0)

    check = Check(file="noise", name="one", measure=measure)
    theirs = [0, False, True, "noise: one: off", {"noise": ["prepare/a"]}]
    (tmp_path / "compared-0.jsonl").write_text(json.dumps(theirs) + "\n[1, tr")
    shared = Shared(Recording(tmp_path), [check, check], tmp_path)
    assert shared.of(0) == Found(passed=False, compared=True, told="noise: one: off")
    assert (looked, shared.seen) == ([], {"noise": {"prepare/a"}})
    assert shared.of(1).told == "noise: one: out is off by 2, 1 allowed"
    other = Shared(Recording(tmp_path), [check, check], tmp_path)
    (told,) = tmp_path.glob(f"compared-{os.getpid()}.jsonl")
    told.rename(tmp_path / "compared-1.jsonl")
    assert (other.of(1), looked) == (shared.of(1), ["here"])


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another recording of start noise: other seeds, sizes, names and cases, drawn anew."""
    shapes = {"wide": [1, 16, 6, 10], "many": [3, 4, 5, 7]}
    seeds = {"wide": "77", "many": "18446744073709551615"}
    cases = {f"prepare/{name}": {"seed": seeds[name], "shape": shapes[name]} for name in shapes}
    tensors = {f"prepare/{name}": prepare_noise(torch.zeros(shapes[name]), int(seeds[name])) for name in shapes}
    (tmp_path / "noise.json").write_text(json.dumps({"cases": cases}))
    save_file(tensors, tmp_path / "noise.safetensors")
    return tmp_path


def test_another_recording_is_read_as_it_is(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(other)]) == 0
    [_, noise, _] = capsys.readouterr().out.splitlines()
    assert noise.split() == ["noise", "2", "2", "exact"]


def test_a_case_that_is_off_is_named_with_its_figure(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(other / "noise.safetensors")
    tensors["prepare/many"] += 0.5
    save_file(tensors, other / "noise.safetensors")
    assert main(["--data", str(other)]) == 1
    assert "FAILED noise: prepare/many: noise is off by 0.5, 0 allowed" in capsys.readouterr().out


def test_cases_under_other_names_and_models_are_compared(tmp_path: Path) -> None:
    for name in ("samplers_models", "guiders", "model_sampling", "tables"):
        for path in SHIPPED.glob(f"{name}.*"):
            shutil.copy(path, tmp_path)
    described = json.loads((tmp_path / "model_sampling.json").read_text())
    described["cases"] = {"mine": described["cases"]["aura_1.73"]}
    (tmp_path / "model_sampling.json").write_text(json.dumps(described))
    held = load_file(tmp_path / "model_sampling.safetensors")
    kept = {key.replace("aura_1.73/", "mine/"): held[key] for key in held if key.startswith(("in/", "aura_1.73/"))}
    save_file(kept, tmp_path / "model_sampling.safetensors")
    name = "aura_1.73/euler/normal"
    sampled = json.loads((tmp_path / "samplers_models.json").read_text())
    sampled["cases"] = {"renamed": {**sampled["cases"][name], "model": "mine"}}
    (tmp_path / "samplers_models.json").write_text(json.dumps(sampled))
    finals = load_file(tmp_path / "samplers_models.safetensors")
    save_file({**finals, "renamed": finals[name].clone()}, tmp_path / "samplers_models.safetensors")
    (tmp_path / "guiders.json").unlink()
    outcomes = [table.outcome(check) for check in table.checks(Recording(tmp_path))]
    assert {(each.check.file, each.check.name): each.passed for each in outcomes} == {
        ("model_sampling", "mine"): True,
        ("samplers_models", "renamed"): True,
        ("tables", "names"): True,
    }


def test_an_unknown_node_is_a_failed_case_with_its_name() -> None:
    def measure():
        registry().get("NoSuchNode")
        yield Figure(part="out", error=0.0, bound=0.0)

    found = table.outcome(Check(file="ops_image", name="NoSuchNode/0", measure=measure))
    assert not found.passed
    assert "ops_image: NoSuchNode/0: UnknownName: there is no node 'NoSuchNode'" in str(found)


def test_an_empty_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert f"no recordings in {tmp_path}" in capsys.readouterr().err


def test_nan_is_off_by_more_than_any_bound() -> None:
    assert Figure(part="x", error=float("nan"), bound=1.0).of_bound > 1
