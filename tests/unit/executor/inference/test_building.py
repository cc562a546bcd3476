"""Modules built without memory: nothing of them is filled, and nothing else changes meanwhile."""

from threading import Thread

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from executor.inference.building import Hollow


def test_layers_have_no_memory():
    with Hollow():
        layers = nn.Sequential(
            nn.Linear(4, 4), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Embedding(4, 4)
        )
    assert all(weight.is_meta for weight in layers.state_dict().values())


class Watch(TorchDispatchMode):
    """The names of what torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.name())
        return func(*args, **(kwargs or {}))


def test_no_first_values_are_computed():
    with Watch() as watch, Hollow():
        nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Embedding(4, 4))
    assert not {name for name in watch.seen if name.endswith("_")}
    assert watch.seen <= {"aten::empty.memory_format", "aten::detach"}


def test_tensors_with_memory_are_filled():
    table = torch.ones(2, 2)
    with Hollow():
        table.zero_()
        nn.init.constant_(table[0], 5.0)
    assert table.tolist() == [[5.0, 5.0], [0.0, 0.0]]


def test_a_device_that_is_asked_for_is_given():
    with Hollow():
        assert torch.zeros(2, device="cpu").tolist() == [0.0, 0.0]


def test_other_threads_build_as_usual():
    built: list[nn.Linear] = []
    with Hollow():
        thread = Thread(target=lambda: built.append(nn.Linear(4, 4)))
        thread.start()
        thread.join()
    assert not built[0].weight.is_meta
    assert built[0].weight.abs().sum() > 0


def test_it_ends_with_its_block():
    with Hollow():
        pass
    assert not torch.empty(1).is_meta
