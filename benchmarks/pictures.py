"""Pictures on the CPU, text to pixels, beside diffusers' own pipeline on the same weights, noise, steps and threads.

The floor is the peer. Both draw in this process in turn, and the pictures are compared: where they differ by more than
float32 does, nothing is measured. Each side's figure is the least of its rounds, the first of which finds nothing warm:
what else the machine does only adds. Weft runs what its nodes run; the four milliseconds of a prompt's way through the
server are in the group `prompts`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from benchmarks import peer
from benchmarks.figures import Figure
from benchmarks.model_files import DEMO, full_size
from executor.inference.checkpoint import load_checkpoint
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.devices import Ways
from executor.inference.memory import Memory
from executor.inference.samplers import sampler
from executor.inference.schedules import ksampler_sigmas
from executor.inference.values import Latent

PROMPT, NEGATIVE = "a red circle on a blue background", ""
CFG = 2.5
ALIKE = 2e-3  # of a pixel's range: float32 sums in another order, over all steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One size of pictures; `most_ratio` is Weft's time over the peer's at most."""

    side: int
    steps: int
    rounds: int
    most_ratio: float


FULL = (
    Case(side=64, steps=4, rounds=3, most_ratio=1 / 1.1),
    Case(side=256, steps=4, rounds=2, most_ratio=1 / 1.1),
    Case(side=512, steps=1, rounds=2, most_ratio=1.0),
)
LONG = (
    Case(side=128, steps=4, rounds=3, most_ratio=1 / 1.1),
    Case(side=384, steps=1, rounds=3, most_ratio=1.0),
    Case(side=512, steps=4, rounds=3, most_ratio=1.0),
)
SMALL = (Case(side=128, steps=20, rounds=6, most_ratio=1 / 1.1),)


def figures() -> list[Figure]:
    """The demo's model at its own size, and SD1.5 at full size at three."""
    use_cores()
    small = compared("demo", DEMO, peer.DEMO, SMALL)
    return [*small, *compared("SD1.5", full_size(), peer.SD15, FULL)]


def more() -> list[Figure]:
    """SD1.5 at full size at the sizes between, and the largest with more steps: minutes more."""
    use_cores()
    return compared("SD1.5", full_size(), peer.SD15, LONG)


def use_cores() -> None:
    """As many threads as there are cores, which is what workers use."""
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)


def compared(name: str, path: Path, sizes: peer.Sizes, cases: tuple[Case, ...]) -> list[Figure]:
    """Seconds of a picture at every size, and those of the peer."""
    ours, theirs = Weft(path), peer.Peer(path, sizes)
    found = []
    for case in cases:
        noise = torch.randn(1, 4, case.side // 8, case.side // 8, generator=torch.Generator().manual_seed(0))
        sigmas = ours.sigmas(case.steps)
        given = ours.ids(PROMPT), ours.ids(NEGATIVE), noise, sigmas, CFG
        rows = []
        for _ in range(case.rounds):
            start = time.perf_counter()
            other = theirs.draw(*given)
            middle = time.perf_counter()
            own = ours.draw(noise, sigmas)
            rows.append((middle - start, time.perf_counter() - middle))
            refuse_unlike(name, case, own, other)
        peer_s, weft_s = (min(column) for column in zip(*rows, strict=True))
        told = f"{name} picture {case.side}x{case.side}, {case.steps} step{'s' * (case.steps > 1)}"
        found.append(
            Figure(name=told, value=weft_s, unit="s",
                   floor=peer_s, floor_name="diffusers' pipeline, same picture", most_ratio=case.most_ratio)
        )  # fmt: skip
    return found


def refuse_unlike(name: str, case: Case, own: Tensor, other: Tensor) -> None:
    """AssertionError where two pictures are not the same: they were not the same work."""
    difference = float((own - other).abs().max())
    if difference > ALIKE:
        raise AssertionError(f"{name} at {case.side}: the pictures differ by {difference:.4f}")


class Weft:
    """A checkpoint as its nodes use it."""

    def __init__(self, path: Path, ways: Ways | None = None) -> None:
        self.checkpoint = load_checkpoint(path, Memory(torch.device("cpu"), ways=ways))

    def ids(self, text: str) -> list[int]:
        """The 77 token ids of a text."""
        assert self.checkpoint.clip is not None
        [chunk] = self.checkpoint.clip.tokenizer.tokenize(text)
        return [int(place.token) for place in chunk]  # type: ignore[call-overload]

    def sigmas(self, steps: int) -> list[float]:
        """The noise levels of so many steps, with the last, 0."""
        levels: list[float] = ksampler_sigmas(self.checkpoint.model.model_sampling, "simple", "euler", steps).tolist()
        return levels

    def draw(self, noise: Tensor, sigmas: list[float]) -> Tensor:
        """The picture [1, H, W, 3] in 0..1 of the prompt."""
        clip = self.checkpoint.clip
        assert clip is not None
        with torch.no_grad():
            guidance = Guidance(positive=clip.encode(PROMPT), negative=clip.encode(NEGATIVE), cfg=CFG)
        latent: Latent = {"samples": torch.zeros_like(noise)}
        levels = torch.tensor(sigmas)
        samples, _ = sample_sigmas(self.checkpoint.model, latent, noise, levels, sampler("euler"), guidance, seed=0)
        return self.checkpoint.vae.decode(samples)
