"""The training run: the same seed gives the same weights, and a run goes on exactly where it stopped."""

import pytest
import torch

from training.train_unet import Run, new_run, train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(path, steps: int, run: Run | None = None) -> Run:
    run = run or new_run(seed=3, text_steps=2, device=CPU)
    train(run, steps, 1e-3, 3, path)
    return run


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, second = (trained(tmp_path / f"{name}.pt", 2).weights() for name in ("a", "b"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    straight = trained(tmp_path / "straight.pt", 1)
    again = new_run(seed=8, text_steps=0, device=CPU)
    again.load(tmp_path / "straight.pt")
    straight, again = (trained(tmp_path / f"{name}.pt", 2, run) for name, run in (("c", straight), ("d", again)))
    assert all(torch.equal(straight.mean[key], again.mean[key]) for key in straight.mean)
