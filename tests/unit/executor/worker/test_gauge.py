"""What results weigh in main memory, and how much of it is free."""

import numpy as np
import psutil
import pytest
import torch

from executor.worker.gauge import RamGauge


def weight(*values):
    return sum(RamGauge().pieces(values).values())


class Told:
    def get_ram_usage(self):
        return 700


class Broken:
    def get_ram_usage(self):
        raise ValueError


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        (torch.zeros(10, 10), 400),
        ({"samples": torch.zeros(5)}, 20),
        ([(torch.zeros(5), {"pooled_output": torch.zeros(5)})], 40),
        (np.zeros(8), 64),
        (np.zeros(8)[2:4], 64),
        (b"12345", 5),
        (Told(), 700),
        (Broken(), 0),
        ("text", 0),
        (torch.zeros(4, device="meta"), 0),
    ],
)
def test_the_weight_of_a_value(value, bytes_):
    assert weight([value]) == bytes_


def test_tensors_that_share_their_memory_weigh_once():
    whole = torch.zeros(100)
    assert weight([whole], [whole[:10], whole.view(10, 10)]) == 400


def test_a_value_that_holds_itself_is_weighed():
    loop = {"x": torch.zeros(1)}
    loop["self"] = loop
    assert weight([loop]) == 4


def test_free_memory_is_the_machine_s(tmp_path):
    free = RamGauge(tmp_path).free_bytes()
    assert 0 < free <= psutil.virtual_memory().total


def test_a_container_s_limit_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    assert RamGauge(tmp_path).free_bytes() == 150_000


def test_a_container_without_a_limit_has_the_machine_s(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert RamGauge(tmp_path).free_bytes() > 1_000_000
