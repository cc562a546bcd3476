"""Speed on a GPU: steps per second beside diffusers and the arithmetic floor, and pictures per minute over HTTP.

The arithmetic floor is the step's floating-point work at the rate that one large product of half-precision matrices
reaches on this device in this run. Without a CUDA device every figure is told as absent.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figures import Figure, absent, median, table
from benchmarks.gpu_files import write_layout
from benchmarks.gpu_http import OVER_HTTP, pictures
from benchmarks.gpu_peers import built, compiled, pytorchs_attention, step_of
from benchmarks.model_files import CHOSEN, KEPT
from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.devices import Ways
from executor.inference.memory import Memory
from executor.inference.samplers import SAMPLERS
from executor.inference.schedules import ksampler_sigmas
from executor.inference.values import Conditioning, Latent
from executor.inference.weights import first_line

SIDE = 8192  # of the square matrices that the rate is measured with
ROUNDS = 3
CFG = 7.0
CELL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model at one size of pictures, and its targets."""

    name: str
    layout: str
    width: int  # pixels
    height: int
    batch: int  # pictures, or frames of one video
    steps: int
    beside_eager: float | None = None  # least ratio to diffusers as it is
    beside_rate: float | None = None  # least share of the measured matrix rate

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.height // CELL, self.width // CELL

    @property
    def is_video(self) -> bool:
        """Whether its rows are frames."""
        return self.layout == "svd_xt"


CASES = (
    Case(name="SD1.5 512x512 b1", layout="sd15", width=512, height=512, batch=1, steps=20, beside_eager=2.0),
    Case(name="SD1.5 512x512 b8", layout="sd15", width=512, height=512, batch=8, steps=20, beside_rate=0.55),
    Case(name="SDXL 1024x1024 b1", layout="sdxl", width=1024, height=1024, batch=1, steps=30, beside_eager=1.3),
    Case(name="SDXL 1024x1024 b4", layout="sdxl", width=1024, height=1024, batch=4, steps=30, beside_rate=0.55),
    Case(name="SVD-XT 1024x576 14 frames", layout="svd_xt", width=1024, height=576, batch=14, steps=20),
    Case(name="SVD-XT 1024x576 25 frames", layout="svd_xt", width=1024, height=576, batch=25, steps=20),
)
SERVED = CASES[:4]  # also asked of a server
BESIDE_COMPILED = "steps beside compiled"
NO_GPU = "no GPU"
FAILURES = (RuntimeError, OSError, AssertionError, AttributeError, TypeError, ValueError, LookupError, ImportError)
WAYS = (("as it is", Ways()), ("no graphs", Ways(records=False)), ("no layout", Ways(arranges=False)))


def figures() -> list[Figure]:
    """Every case beside diffusers' eager network and the floor; then pictures over HTTP."""
    device = cuda()
    if device is None:
        steps = [f"{case.name} steps" for case in CASES]
        return absent([*steps, *(f"{case.name} {told}" for case in SERVED for told in OVER_HTTP)], NO_GPU)
    rate = matrix_rate(device)
    found = [Figure(name="half-precision matrix rate", value=rate / 1e12, unit="TF/s")]
    for case in CASES:  # the ones with targets first: whoever has a device for minutes may be cut off in the videos
        found += told(tried([f"{case.name} steps"], partial(steps_of, case, device, rate)))
        if case in SERVED:
            found += told(tried([f"{case.name} {over}" for over in OVER_HTTP], partial(served, case, device)))
    return found


def served(case: Case, device: torch.device) -> list[Figure]:
    """A case's pictures over HTTP, beside their sampling and decoding alone."""
    path = file_of(case.layout, device)
    alone_s = work_s(case, load_checkpoint(path, Memory(device)), device)
    torch.cuda.empty_cache()
    return pictures(case, path, alone_s)


def tried(names: Sequence[str], measure: Callable[[], list[Figure]]) -> list[Figure]:
    """What is measured; where that fails, figures that say why: a device that is had for minutes has others to tell."""
    try:
        return measure()
    except FAILURES as failure:
        traceback.print_exc()
        torch.cuda.empty_cache()
        return absent(names, first_line(failure))


def told(found: list[Figure]) -> list[Figure]:
    """The figures, which go to standard error at once: a device may be gone before the table comes."""
    sys.stderr.write(f"{table(found)}\n")
    return found


def ways() -> list[Figure]:
    """What each of Weft's own means gains: the first case of each kind of model with one of them off."""
    device = cuda()
    cases = (CASES[0], CASES[2])
    if device is None:
        return absent([f"{case.name} {told}" for case in cases for told, _ in WAYS], NO_GPU)
    found = []
    for case in cases:
        path = file_of(case.layout, device)
        for told, used in WAYS:
            per_s = steps_per_s(case, load_checkpoint(path, Memory(device, ways=used)), device)
            found.append(Figure(name=f"{case.name} {told}", value=per_s, unit="it/s"))
    return found


def beside_compiled() -> list[Figure]:
    """Every case beside diffusers' network compiled at its best; compiling takes minutes for each."""
    device = cuda()
    if device is None:
        return absent([f"{case.name} {BESIDE_COMPILED}" for case in CASES], NO_GPU)
    found = []
    for case in CASES:
        ours = steps_per_s(case, load_checkpoint(file_of(case.layout, device), Memory(device)), device)
        theirs = peer_per_s(case, device, compiled)
        name = f"{case.name} {BESIDE_COMPILED}"
        told = "diffusers, max-autotune, channels last"
        found.append(Figure(name=name, value=ours, unit="it/s", floor=theirs, floor_name=told, least_ratio=0.95))
        torch.compiler.reset()
        torch.cuda.empty_cache()
    return found


def cuda() -> torch.device | None:
    """The device to measure; None where there is none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else None


def file_of(layout: str, device: torch.device) -> Path:
    """The random file of a layout, made once for all who ask: see `model_files.large_files`."""
    folder = Path(os.environ.get(CHOSEN) or KEPT)
    return write_layout(layout, folder / f"{layout}_for_speed.safetensors", device)


def steps_of(case: Case, device: torch.device, rate: float) -> list[Figure]:
    """A case's steps per second beside diffusers' eager ones and beside the arithmetic floor."""
    checkpoint = load_checkpoint(file_of(case.layout, device), Memory(device))
    work = step_flops(case, checkpoint)
    ours = steps_per_s(case, checkpoint, device)
    checkpoint.model.memory.unload_all()
    del checkpoint
    torch.cuda.empty_cache()
    theirs = peer_per_s(case, device, lambda network: network)
    common: dict[str, Any] = {"value": ours, "unit": "it/s"}
    return [
        Figure(name=f"{case.name} steps", floor=theirs, floor_name="diffusers' eager network",
               least_ratio=case.beside_eager, **common),
        Figure(name=f"{case.name} steps", floor=rate / work, floor_name=f"{work / 1e12:.2f} TFLOP at the matrix rate",
               least_ratio=case.beside_rate, **common),
    ]  # fmt: skip


def matrix_rate(device: torch.device, side: int = SIDE, dtype: torch.dtype = torch.float16) -> float:
    """Floating-point operations per second of one product of square matrices."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2.0 * side**3 / median(timed(lambda: left @ right, device, turns=20))


def steps_per_s(case: Case, checkpoint: Checkpoint, device: torch.device) -> float:
    """Steps per second of a whole warm sampling, both sides of the guidance."""
    sample = sampling(case, checkpoint, case.steps)
    sample()
    return case.steps / median(timed(sample, device, turns=ROUNDS))


def work_s(case: Case, checkpoint: Checkpoint, device: torch.device) -> float:
    """Seconds of a warm sampling and of decoding what it makes, without a server."""
    sample = sampling(case, checkpoint, case.steps)

    def work() -> None:
        checkpoint.vae.decode(sample())

    work()
    return median(timed(work, device, turns=ROUNDS))


def sampling(case: Case, checkpoint: Checkpoint, steps: int) -> Callable[[], Tensor]:
    """A sampling by Euler's method; texts are random numbers."""
    model = checkpoint.model
    guidance = Guidance(positive=condition(case, checkpoint), negative=condition(case, checkpoint), cfg=CFG)
    latent: Latent = {"samples": torch.zeros(case.batch, 4, *case.size)}
    sigmas = ksampler_sigmas(model.model_sampling, "karras", "euler", steps)
    noise = torch.randn(latent["samples"].shape)
    return lambda: sample_sigmas(model, latent, noise, sigmas, SAMPLERS["euler"], guidance, seed=1)[0]


def condition(case: Case, checkpoint: Checkpoint) -> Conditioning:
    """A text, or a picture that leads, of random numbers."""
    width = checkpoint.model.model.text_width or 0
    if case.is_video:
        return [[torch.randn(1, 1, width), {"concat_latent_image": torch.randn(1, 4, *case.size)}]]
    options = {"pooled_output": torch.randn(1, 1280), "width": case.width, "height": case.height}
    return [[torch.randn(1, 77, width), options if case.layout == "sdxl" else {}]]


def step_flops(case: Case, checkpoint: Checkpoint) -> float:
    """Floating-point operations of one step, counted in plain calls of the network."""
    before, memory = checkpoint.model.memory.ways, checkpoint.model.memory
    memory.ways = Ways(records=False, measures=False)
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            sampling(case, checkpoint, 1)()
    finally:
        memory.ways = before
    return float(counter.get_total_flops())


def peer_per_s(case: Case, device: torch.device, prepared: Callable[[Any], Callable[..., Any]]) -> float:
    """Calls per second of diffusers' network with both sides of the guidance."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    rows = 2 if case.is_video else 2 * case.batch
    like = {"device": device, "dtype": dtype, "rows": rows, "frames": case.batch, "size": case.size}
    step = step_of(prepared(built(case.layout, device, dtype)), case.layout, like)
    with torch.inference_mode(), pytorchs_attention():
        for _ in range(3):
            step()
        return 1.0 / median(timed(step, device, turns=max(3, case.steps)))


def timed(run: Callable[[], object], device: torch.device, *, turns: int) -> list[float]:
    """Seconds of each turn, from an idle device to an idle device."""
    taken = []
    for _ in range(turns):
        wait_for(device)
        begin = time.perf_counter()
        run()
        wait_for(device)
        taken.append(time.perf_counter() - begin)
    return taken


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
