"""PyAV that is missing or broken is named when sound or video is touched, and stops nothing before."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import NodeInputError
from executor.inference.media import LARGEST_TERM, parsed, pyav, rate_of, texts


def test_missing_pyav_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RuntimeError, match="need PyAV, which is not installed: pip install av"):
        pyav()


@pytest.mark.parametrize("line", ["raise ImportError('libavcodec.so: not found')", "import no_such_part_of_av"])
def test_broken_pyav_is_named_with_its_reason(monkeypatch, tmp_path, line):
    for name in [name for name in sys.modules if name == "av" or name.startswith("av.")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "av.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match=r"PyAV, which does not load here: .*(libavcodec|no_such_part_of_av)"):
        pyav()


def test_nodes_are_listed_without_pyav(tmp_path):
    (tmp_path / "av.py").write_text("raise SystemError('touched')")
    program = (
        "import nodes; names = nodes.load().definitions; assert 'VHS_VideoCombine' in names and 'SaveVideo' in names"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:.", "PATH": ""}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize(
    ("given_rate", "exact"),
    [
        (8, Fraction(8)),
        (29.97, Fraction(2997, 100)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_rates_are_taken_as_written(given_rate, exact):
    assert rate_of(given_rate) == exact


@given(st.floats(1e-3, 1e6))
def test_rates_fit_into_ffmpegs_fractions(value):
    rate = rate_of(value)
    assert 0 < max(rate.numerator, rate.denominator) < 2 * LARGEST_TERM
    assert abs(float(rate) - value) <= 1e-2 * value


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_what_is_no_rate_is_said(value):
    with pytest.raises(NodeInputError, match="is no frame rate"):
        rate_of(value, "fps")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=4))
def test_metadata_comes_back(value):
    (text,) = texts({"a": value}).values()
    assert parsed(text) == (value if not isinstance(value, str) else parsed(value))
