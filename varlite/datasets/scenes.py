"""Scenes of still life: what stands on the table, in which colours and light; all of it follows from (seed, index)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from random import Random

from varlite.datasets.shapes import CLASSES, SHAPES

VERSION = 1  # of scenes and pictures: counts up when any of them changes
COUNTS, SEEDS = {"train": 60_000, "test": 5_000}, {"train": 0, "test": 1}
SIDE = 64
SPOTS = ((0.125, 0.625), (0.375, 0.125), (0.625, 0.875), (0.875, 0.375))  # rays of a pixel: a turned square
VIEW, AWAY, AIM = 0.29, 6.6, (0.1, 0.62)  # the camera: half the picture over its distance from the aim (y, z)
WALL = 3.2  # y
SHARPNESS = 7.0  # distance to the light over its radius: the higher, the harder the shadows

HUES = {
    "red": (216, 44, 48), "orange": (242, 122, 28), "yellow": (250, 204, 52), "green": (72, 170, 70),
    "teal": (24, 168, 166), "blue": (44, 100, 220), "violet": (128, 72, 200), "pink": (242, 118, 172),
    "white": (238, 234, 226),
}  # fmt: skip
MATERIALS = ("matt", "glossy", "striped")
CREAM, CHARCOAL, BROWN = (246, 240, 226), (70, 72, 80), (96, 68, 48)  # stripes, stripes on white, the pear's stalk
WALLS = {  # below, above
    "sand": ((226, 208, 184), (190, 164, 136)), "mint": ((200, 220, 206), (146, 180, 168)),
    "sky": ((202, 216, 230), (140, 166, 194)), "lilac": ((214, 206, 226), (164, 152, 190)),
    "blush": ((234, 208, 204), (196, 156, 154)), "slate": ((140, 148, 160), (84, 92, 108)),
}  # fmt: skip
TABLES = {
    "oak": (204, 166, 122), "walnut": (136, 98, 74), "linen": (226, 220, 208), "stone": (150, 152, 156),
    "sage": (160, 174, 148),
}  # fmt: skip
HELD_OUT = frozenset({("torus", "red"), ("cube", "blue"), ("star", "green"), ("pear", "violet"), ("cone", "yellow")})


@dataclass(frozen=True)
class Thing:
    """One object: where it stands (x, y), its size as a factor of about 1, its turn about the vertical in degrees."""

    kind: str
    hue: str
    material: str
    size: float
    x: float
    y: float
    turn: float


@dataclass(frozen=True)
class Scene:
    """All factors of a picture, the main object first; angles in degrees."""

    things: tuple[Thing, ...]
    light: tuple[float, float]  # azimuth, from behind the camera to the right, and elevation
    camera: float  # elevation
    wall: str
    table: str


def sample(seed: int, index: int, held_out: Collection[tuple[str, str]] = HELD_OUT) -> Scene:
    """The scene of (seed, index): its main object has class index % 10, no object is a (class, hue) held out."""
    rng = Random(f"still life {VERSION} {seed} {index}")

    def pick(options: Iterable[str]) -> str:
        return (listed := list(options))[int(rng.random() * len(listed))]

    def span(low: float, high: float) -> float:
        return low + (high - low) * rng.random()

    def thing(kind: str, size: float, x: float, y: float) -> Thing:
        hue = pick(hue for hue in HUES if (kind, hue) not in held_out)
        return Thing(kind, hue, pick(MATERIALS), size, x, y, span(-42, 42))

    things = [thing(CLASSES[index % len(CLASSES)], span(0.85, 1.1), span(-0.3, 0.3), span(-0.3, 0.3))]
    count = 1 + int(rng.random() * 3)
    while len(things) < count:
        y = span(-0.9, 1.1)
        new = thing(pick(CLASSES), span(0.34, 0.46), span(-1, 1) * (1.5 + 0.22 * y), y)
        if all(apart(new, old) for old in things):
            things.append(new)
    return Scene(tuple(things), (span(-75, 75), span(38, 62)), span(20, 36), pick(WALLS), pick(TABLES))


def apart(a: Thing, b: Thing) -> bool:
    """Whether two objects neither touch nor hide much of each other."""
    reach = a.size * SHAPES[a.kind].width + b.size * SHAPES[b.kind].width + 0.05
    return abs(a.x - b.x) > 0.85 * reach and (a.x - b.x) ** 2 + (a.y - b.y) ** 2 > reach**2
