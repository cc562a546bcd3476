"""What results weigh in main memory, and how much of it is free."""

import numpy as np
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


def test_free_memory_is_that_of_the_container(tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    assert RamGauge(tmp_path).free_bytes() == 100_000
