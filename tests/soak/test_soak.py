"""Memory of front and worker over many prompts; the long run is `make test-soak`."""

import sys

import pytest

from benchmarks.soak import LIMIT, WARM_UP, Samples, run

MB = 1 << 20


def test_the_slope_is_that_of_the_line_after_the_warm_up():
    samples = Samples(prompts=[0, 100, 200, 300], resident=[0, 5000, 6000, 7000])
    assert samples.slope(100) == pytest.approx(10.0)


def test_some_hundred_prompts_of_all_kinds_leave_memory_as_it_was():
    found = run(200, 50, list)
    assert [samples.prompts for samples in found.values()] == [[100, 200]] * 2
    grown = {name: samples.resident[-1] - samples.resident[0] for name, samples in found.items()}
    assert all(size < 5 * MB for size in grown.values()), grown


@pytest.mark.soak
def test_five_thousand_prompts_leave_memory_flat():
    found = run(5000, 100, sys.stderr.write)
    slopes = {name: samples.slope(WARM_UP) for name, samples in found.items()}
    assert all(slope <= LIMIT for slope in slopes.values()), slopes
