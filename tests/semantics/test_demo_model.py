"""The demo's checkpoint draws what a caption says, with every sampler and scheduler: judged by colours and places."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.samplers import SAMPLERS
from executor.inference.schedules import SCHEDULERS
from executor.inference.values import Conditioning
from training.judge import Seen, see

CHECKPOINT = Path(__file__).parents[2] / "models" / "checkpoints" / "weft-demo.safetensors"
SIDE = 128

CAPTIONS = {
    "a red circle on a blue background": Seen("circle", "red", "blue", "center", 1),
    "a big yellow square on a purple background": Seen("square", "yellow", "purple", "center", 1),
    "a green triangle on a white background, left": Seen("triangle", "green", "white", "left", 1),
    "a white star on a black background, right": Seen("star", "white", "black", "right", 1),
    "a small orange circle on a cyan background, top": Seen("circle", "orange", "cyan", "top", 1),
    "a black diamond on a yellow background at the bottom": Seen("diamond", "black", "yellow", "bottom", 1),
    "a pink heart on a green background, top left": Seen("heart", "pink", "green", "top left", 1),
    "a blue cross on an orange background, bottom right": Seen("cross", "blue", "orange", "bottom right", 1),
}
"""Each colour and each direction at least once."""

SLICE = [
    (sampler, scheduler)
    for sampler in ("euler", "euler_ancestral", "dpmpp_2m", "ddim")
    for scheduler in ("normal", "karras", "simple")
]
OTHERS = [(name, "normal") for name in SAMPLERS] + [("euler", name) for name in SCHEDULERS]
REST = [
    (sampler, scheduler)
    for scheduler in SCHEDULERS
    for sampler in SAMPLERS
    if (sampler, scheduler) not in (*SLICE, *OTHERS)
]
"""With SLICE and OTHERS every sampler with every scheduler; two captions in turn are enough for each of so many."""
PAIR = 2
EVERY = slice(None)

FAILING: dict[tuple[str, str], str] = {
    ("dpm_fast", "linear_quadratic"): "noise is left",
    ("dpm_adaptive", "linear_quadratic"): "noise is left",
    ("ipndm_v", "linear_quadratic"): "noise is left",
}
"""Combinations that do not draw what was asked, and why; docs/demo_model.md shows their pictures."""


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(CHECKPOINT, Memory(torch.device("cpu")))


@pytest.fixture(scope="module")
def conditions(checkpoint: Checkpoint) -> Iterator[tuple[torch.Tensor, Conditioning]]:
    """The captions' tokens, a row for each, and the empty prompt as conditioning."""
    with torch.inference_mode():
        rows = torch.cat([checkpoint.clip.encode(caption)[0][0] for caption in CAPTIONS])
        yield rows, checkpoint.clip.encode("")


def drawn(
    checkpoint: Checkpoint,
    conditions: tuple[torch.Tensor, Conditioning],
    sampler: str,
    scheduler: str,
    captions: slice = EVERY,
) -> np.ndarray:
    """The pictures [B, H, W, 3] of some captions, drawn as one batch."""
    rows, negative = conditions[0][captions], conditions[1]
    with torch.inference_mode():
        latent = sample(
            checkpoint.model,
            {"samples": torch.zeros(len(rows), 4, SIDE // 8, SIDE // 8)},
            seed=7,
            steps=20,
            cfg=1.0 if "cfg_pp" in sampler else 2.5,  # CFG++ is made for scales of at most about 1
            sampler_name=sampler,
            scheduler=scheduler,
            positive=[[rows, {}]],
            negative=negative,
        )
        pictures = checkpoint.vae.decode(latent)
    return (pictures.numpy() * 255).astype(np.uint8)


def check(pictures: np.ndarray, captions: slice = EVERY) -> None:
    """Every picture shows one thing of the colour asked for, on the background and at the place asked for."""
    wrong = [
        f"{caption!r} shows {found}"
        for (caption, asked), found in zip([*CAPTIONS.items()][captions], map(see, pictures), strict=True)
        if (found.colour, found.background, found.place, found.count)
        != (asked.colour, asked.background, asked.place, asked.count)
    ]
    assert not wrong, "\n".join(wrong)


def pair_of(place: int) -> slice:
    """The captions for one combination of REST."""
    first = PAIR * place % len(CAPTIONS)
    return slice(first, first + PAIR)


@pytest.mark.parametrize(("sampler", "scheduler"), SLICE)
def test_pictures_show_what_was_asked(checkpoint, conditions, sampler: str, scheduler: str):
    check(drawn(checkpoint, conditions, sampler, scheduler))


@pytest.mark.full
@pytest.mark.parametrize(("sampler", "scheduler"), [pair for pair in OTHERS if pair not in SLICE])
def test_pictures_show_what_was_asked_with_the_other_methods(checkpoint, conditions, sampler: str, scheduler: str):
    check(drawn(checkpoint, conditions, sampler, scheduler))


@pytest.mark.full
@pytest.mark.parametrize("place", range(len(REST)), ids=["-".join(pair) for pair in REST])
def test_pictures_show_what_was_asked_with_every_method_on_every_schedule(checkpoint, conditions, place: int, request):
    if REST[place] in FAILING:
        request.applymarker(pytest.mark.xfail(reason=FAILING[REST[place]], strict=False))
    captions = pair_of(place)
    check(drawn(checkpoint, conditions, *REST[place], captions), captions)
