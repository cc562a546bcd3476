"""The judge of the demo model: true drawings pass, other captions do not."""

import random
from dataclasses import replace

import pytest

from training.drawing import draw, to_bytes
from training.grammar import COLOURS, SHAPES, Scene, draw_scene
from training.judge import judge, see

SIDE = 128


def drawn(scene: Scene):
    """The picture of a scene, bytes [H, W, 3]."""
    return to_bytes(draw([scene], SIDE))[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_told_from_the_others(shape):
    picture = drawn(Scene(shape=shape, colour="red", background="blue"))
    passing = [
        other for other in SHAPES if judge(picture, Scene(shape=other, colour="red", background="blue"))["shape"]
    ]
    assert passing == [shape]


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_seen_on_a_contrasting_ground(colour):
    ground = "white" if colour != "white" else "green"
    seen = see(drawn(Scene(shape="circle", colour=colour, background=ground)))
    assert (seen.colour, seen.background) == (colour, ground)


def test_random_scenes_pass_in_every_attribute():
    rng = random.Random(5)
    scenes = [draw_scene(rng) for _ in range(40)]
    failed = [scene for scene in scenes if not all(judge(drawn(scene), scene).values())]
    assert failed == []


@pytest.mark.parametrize(
    ("attribute", "value"), [("colour", "green"), ("background", "white"), ("place", "left"), ("count", "two")]
)
def test_a_wrong_attribute_fails_alone(attribute, value):
    told = Scene(shape="star", colour="red", background="blue")
    verdicts = judge(drawn(told), replace(told, **{attribute: value}))
    assert [name for name, right in verdicts.items() if not right] == [attribute]
