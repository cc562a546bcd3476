"""The grammar of the demo model: what a scene holds and the captions that describe it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 20, 30),
    "green": (20, 150, 50),
    "blue": (30, 60, 220),
    "yellow": (250, 220, 30),
    "purple": (130, 30, 160),
    "cyan": (40, 210, 230),
    "orange": (250, 125, 10),
    "pink": (255, 150, 200),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "diamond")
SIZES = ("", "small", "big")
COUNTS = ("one", "two", "three")
PLACES = ("center", "left", "right", "top", "bottom", "top left", "top right", "bottom left", "bottom right")

COLOUR_WORDS = {"purple": ("purple", "violet"), "cyan": ("cyan", "turquoise"), "black": ("black",)}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "disc", "dot"),
    "square": ("square", "square", "box"),
    "ring": ("ring", "ring", "donut", "hoop"),
    "cross": ("cross", "cross", "plus"),
    "diamond": ("diamond", "diamond", "rhombus"),
}
PLURALS = {"box": "boxes", "cross": "crosses", "plus": "pluses", "rhombus": "rhombuses"}
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "big": ("big", "big", "large", "huge")}
CENTER_WORDS = ("", "", "", "", "in the center", "in the middle", "centered", "center")
PREFIXES = (
    "",
    "",
    "",
    "",
    "",
    "a picture of",
    "an image of",
    "a drawing of",
    "a photo of",
    "a painting of",
    "there is",
)
# half of the side that a shape's radius takes, lowest and highest: by size, in the center and elsewhere
RADII = {"": (0.24, 0.28), "small": (0.18, 0.2), "big": (0.34, 0.38)}
SIDE_RADII = {"": (0.215, 0.24), "small": (0.18, 0.19), "big": (0.255, 0.27)}
COUNT_RADII = {"two": (0.185, 0.2), "three": (0.138, 0.146)}


@dataclass(frozen=True)
class Scene:
    """One picture's content; a name that the caption leaves open is chosen, but absent from `told`."""

    shape: str
    colour: str
    background: str
    size: str = ""
    place: str = "center"
    count: str = "one"
    radius: float = 0.26
    shift: tuple[float, float] = (0.0, 0.0)
    told: frozenset[str] = frozenset(("shape", "colour", "background", "place", "count"))

    def centres(self) -> list[tuple[float, float]]:
        """The objects' centres (x, y) in parts of the side."""
        x, y = 0.5 + self.shift[0], 0.5 + self.shift[1]
        if self.count == "two":
            return [(x - 0.235, y), (x + 0.235, y)]
        if self.count == "three":
            return [(x - 0.332, y), (x, y), (x + 0.332, y)]
        reach = 0.5 - self.radius - 0.045
        x += reach * (("right" in self.place) - ("left" in self.place))
        y += reach * (("bottom" in self.place) - ("top" in self.place))
        return [(x, y)]


def draw_scene(rng: random.Random) -> Scene:
    """A scene drawn at random, every attribute told."""
    shape = rng.choice(SHAPES)
    colour, background = rng.sample(list(COLOURS), 2)
    count = rng.choices(COUNTS, (0.76, 0.12, 0.12))[0]
    size = rng.choices(SIZES, (0.6, 0.2, 0.2))[0] if count == "one" else ""
    place = "center" if count != "one" or rng.random() < 0.4 else rng.choice(PLACES[1:])
    single = RADII if place == "center" else SIDE_RADII
    radii = single[size] if count == "one" else COUNT_RADII[count]
    loose = 0.02 if place == "center" and count == "one" else 0.008
    shift = (rng.uniform(-loose, loose), rng.uniform(-loose, loose))
    return Scene(shape, colour, background, size, place, count, rng.uniform(*radii), shift)


def noun(shape: str, plural: bool, rng: random.Random) -> str:
    """A word for the shape."""
    word = rng.choice(SHAPE_WORDS.get(shape, (shape,)))
    return PLURALS.get(word, word + "s") if plural else word


def place_words(place: str, rng: random.Random) -> str:
    """Words for the place, empty for a center left out."""
    if place == "center":
        return rng.choice(CENTER_WORDS)
    names = place.split()
    if len(names) == 2 and rng.random() < 0.25:
        names[0] = {"top": "upper", "bottom": "lower"}[names[0]]
    name = " ".join(names)
    if len(names) == 2:
        return rng.choice((name, f"in the {name} corner", f"in the {name}", f"{name} corner"))
    lead = "on the" if name in ("left", "right") else "at the"
    return rng.choice((name, f"{lead} {name}", f"{lead} {name}", f"on the {name} side"))


def subject(scene: Scene, told: frozenset[str], rng: random.Random) -> str:
    """The words for the objects: article or number, size, colour, shape."""
    plural = scene.count != "one"
    parts = [scene.count] if plural else ([rng.choice(("a", "a", "a", "one"))] if rng.random() < 0.75 else [])
    if scene.size:
        parts.append(rng.choice(SIZE_WORDS[scene.size]))
    if "colour" in told:
        parts.append(rng.choice(COLOUR_WORDS.get(scene.colour, (scene.colour,))))
    parts.append(noun(scene.shape, plural, rng) if "shape" in told else ("shapes" if plural else "shape"))
    if parts[0] == "a" and parts[1][0] in "aeiou":
        parts[0] = "an"
    return " ".join(parts)


def caption_of(scene: Scene, rng: random.Random) -> str:
    """A caption that tells exactly what `scene.told` names."""
    place = place_words(scene.place, rng)
    words = subject(scene, scene.told, rng)
    if "background" not in scene.told:
        text = f"{words}{rng.choice((' ', ', ')) + place if place else ''}"
    else:
        ground = rng.choice(COLOUR_WORDS.get(scene.background, (scene.background,)))
        article = "an" if ground[0] in "aeiou" else "a"
        surface = rng.choice(("background", "background", "background", "backdrop"))
        if rng.random() < 0.1:
            text = f"{article} {ground} {surface} with {words}{' ' + place if place else ''}"
        else:
            behind = rng.choice((f"on {article} {ground} {surface}",) * 3 + (f"on {ground}", f"over {ground}"))
            behind = rng.choice((behind,) * 5 + (f"with {article} {ground} {surface}", f", {ground} {surface}"))
            if place and place != "center" and rng.random() < 0.3:
                text = f"{words} {place} {behind}"
            else:
                text = f"{words} {behind}{rng.choice((' ', ', ', ', ')) + place if place else ''}"
    prefix = rng.choice(PREFIXES)
    return (f"{prefix} {text}" if prefix else text).replace(" ,", ",")


def draw_pair(rng: random.Random, complete: bool = False) -> tuple[Scene, str]:
    """A scene and a caption of it; unless `complete`, the caption may leave out colour, background or shape."""
    scene = draw_scene(rng)
    if not complete:
        left_out = {
            name for name, odds in (("colour", 0.05), ("background", 0.1), ("shape", 0.04)) if rng.random() < odds
        }
        scene = replace(scene, told=scene.told - left_out)
    return scene, caption_of(scene, rng)


def all_words() -> list[str]:
    """Every word and mark that a caption can hold, sorted."""
    rng = random.Random(0)
    words = {word for _ in range(20000) for word in draw_pair(rng)[1].replace(",", " , ").split()}
    return sorted(words)
