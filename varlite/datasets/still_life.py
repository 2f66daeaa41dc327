"""Still life: an endless world of small colour scenes, ray-marched in PyTorch, of which every factor is known.

One main object of ten classes and up to two smaller companions lie on a table before a wall. A scene follows from
(seed, index) alone. The renderer uses only operations that IEEE 754 rounds exactly, so that an image is the same, bit
for bit, in whatever batch it is rendered. Lengths are in units of about half an object; x points right, y away from
the camera, z up, and the table is z = 0. Colours are squared (gamma 2) while light is computed.

Suffixes: B scenes, K objects of all scenes, N rays of all scenes, P pairs of a ray and an object, 3 coordinates or RGB.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import cos, pi, radians, sin
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from varlite.data import CACHE, InMemory, to_bytes

VERSION = 1  # of the pictures: counts up when any of them changes
SIDE = 64
RAYS = (
    (0.125, 0.625),
    (0.375, 0.125),
    (0.625, 0.875),
    (0.875, 0.375),
)  # of a pixel: a turned square smooths edges best
VIEW, AWAY, AIM = 0.29, 6.6, (0.1, 0.62)  # the camera: half the picture over its distance, from the aim (y, z)
SHARPNESS = 7.0  # distance to the light over its radius: the higher, the harder the shadows
COUNTS = {"train": 60_000, "test": 5_000}
SEEDS = {"train": 0, "test": 1}

HUES = {
    "red": (216, 44, 48), "orange": (242, 122, 28), "yellow": (250, 204, 52), "green": (72, 170, 70),
    "teal": (24, 168, 166), "blue": (44, 100, 220), "violet": (128, 72, 200), "pink": (242, 118, 172),
    "white": (238, 234, 226),
}  # fmt: skip
MATERIALS = ("matt", "glossy", "striped")
WALLS = {  # below, above
    "sand": ((226, 208, 184), (190, 164, 136)), "mint": ((200, 220, 206), (146, 180, 168)),
    "sky": ((202, 216, 230), (140, 166, 194)), "lilac": ((214, 206, 226), (164, 152, 190)),
    "blush": ((234, 208, 204), (196, 156, 154)), "slate": ((140, 148, 160), (84, 92, 108)),
}  # fmt: skip
TABLES = {
    "oak": (204, 166, 122), "walnut": (136, 98, 74), "linen": (226, 220, 208), "stone": (150, 152, 156),
    "sage": (160, 174, 148),
}  # fmt: skip
CREAM, CHARCOAL = (246, 240, 226), (70, 72, 80)  # the second colour of stripes: charcoal on white
HELD_OUT = frozenset({("torus", "red"), ("cube", "blue"), ("star", "green"), ("pear", "violet"), ("cone", "yellow")})


@dataclass(frozen=True)
class Thing:
    """One object: where it stands (x, y), its turn about the vertical in degrees, its size as a factor of about 1."""

    kind: str
    hue: str
    material: str
    size: float
    x: float
    y: float
    turn: float


@dataclass(frozen=True)
class Scene:
    """All factors of a picture: the main object first; angles in degrees, the light's azimuth from the camera's."""

    things: tuple[Thing, ...]
    light: tuple[float, float]  # azimuth, positive to the right, and elevation
    camera: float  # elevation
    wall: str
    table: str


# Signed distances, in a frame that stands on z = 0


def norm(*v: Tensor) -> Tensor:
    return sum(x * x for x in v).sqrt()  # type: ignore[union-attr]


def extruded(flat: Tensor, w: Tensor) -> Tensor:
    """Distance to a solid from the distances to its outline and to its two ends."""
    return torch.maximum(flat, w).clamp(max=0) + norm(flat.clamp(min=0), w.clamp(min=0))


def box(x: Tensor, y: Tensor, a: float, b: float) -> Tensor:
    return extruded(x.abs() - a, y.abs() - b)


def sphere(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return norm(x, y, z - 0.88) - 0.88


def cube(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return extruded(box(x, y, 0.64, 0.64), (z - 0.7).abs() - 0.64) - 0.06


def cylinder(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return extruded(norm(x, y) - 0.6, (z - 0.84).abs() - 0.78) - 0.06


def cone(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    radius, height, bevel = 0.84, 1.7, 0.05
    r, z = norm(x, y), z - bevel
    along = ((radius - r) * radius + z * height) / (radius**2 + height**2)  # of the slope, from rim to tip
    along = along.clamp(0, 1)
    slope = norm(r - radius * (1 - along), z - height * along)
    base = norm((r - radius).clamp(min=0), z)
    inside = (z > 0) & (r * height + z * radius < radius * height)
    return torch.where(inside, -1.0, 1.0) * torch.minimum(slope, base) - bevel


def torus(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return norm(norm(x, z - 0.92) - 0.62, y) - 0.3


def rings(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    r = norm(x, y)
    tyres = [norm(r - a, z - b) - c for a, b, c in ((0.58, 0.27, 0.27), (0.42, 0.75, 0.23), (0.26, 1.15, 0.19))]
    return torch.minimum(torch.minimum(tyres[0], tyres[1]), torch.minimum(tyres[2], norm(r, z - 1.5) - 0.22))


def star(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    radius, bevel, c, s = 0.98, 0.07, cos(pi / 5), sin(pi / 5)
    x, z = x.abs(), z - radius * c - bevel
    for sign in (1, -1):  # folded along the axes of symmetry
        fold = 2 * (sign * c * x - s * z).clamp(min=0)
        x, z = x - fold * sign * c, z + fold * s
    x, z = x.abs(), z - radius
    u, v = 0.46 * s, 0.46 * c - 1
    h = ((x * u + z * v) / (u * u + v * v)).clamp(0, radius)
    flat = norm(x - u * h, z - v * h) * torch.where(z * u > x * v, 1.0, -1.0)
    return extruded(flat, y.abs() - 0.2) - bevel


def bowl(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    r, h, radius, half = norm(x, y), z - 1.0, 0.92, 0.06
    rim = (radius**2 - 0.01) ** 0.5, -0.1
    shell = torch.where(rim[1] * r < rim[0] * h, norm(r - rim[0], h - rim[1]), (norm(r, h) - radius).abs()) - half
    return torch.minimum(shell, extruded(r - 0.4, (z - 0.06).abs() - 0.06))


def arch(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    opening = norm(x, (z - 0.62).clamp(min=0)) - 0.44
    flat = torch.maximum(box(x, z - 0.7, 0.9, 0.66), -opening)
    return extruded(flat, y.abs() - 0.36) - 0.04


def pear(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    low, high = norm(x, y, z - 0.68) - 0.68, norm(x, y, z - 1.34) - 0.33
    h = (0.4 - (low - high).abs()).clamp(min=0) / 0.4
    body = torch.minimum(low, high) - h * h * 0.1
    return torch.minimum(body, norm(x - 0.25 * (z - 1.6), y, (z - 1.78).abs().sub(0.16).clamp(min=0)) - 0.055)


@dataclass(frozen=True)
class Kind:
    """A class: its signed distance, height of the middle and radius of a sphere about it, radius of its shadow at noon,
    and how far it may turn, in degrees."""

    sdf: Callable[[Tensor, Tensor, Tensor], Tensor]
    middle: float
    radius: float
    width: float
    turn: float = 45


KINDS = {
    "sphere": Kind(sphere, 0.88, 0.9, 0.88), "cube": Kind(cube, 0.7, 1.2, 0.97),
    "cylinder": Kind(cylinder, 0.84, 1.08, 0.66), "cone": Kind(cone, 0.7, 1.17, 0.89),
    "torus": Kind(torus, 0.92, 0.94, 0.92, 40), "rings": Kind(rings, 0.76, 1.05, 0.85),
    "star": Kind(star, 0.94, 1.12, 1.0, 40), "bowl": Kind(bowl, 0.6, 1.14, 0.98),
    "arch": Kind(arch, 0.66, 1.22, 1.02, 40), "pear": Kind(pear, 0.95, 1.08, 0.68),
}  # fmt: skip
CLASSES = tuple(KINDS)


# Factors


def sample(seed: int, index: int, held_out: Collection[tuple[str, str]] = HELD_OUT, hue: str | None = None) -> Scene:
    """The scene of (seed, index); its main object has class index % 10.

    No object is of a (class, hue) in `held_out`, except that `hue` paints the main object all the same.
    """
    rng = Random(f"still life {VERSION} {seed} {index}")

    def pick(options: Iterable[str]) -> str:
        options = list(options)
        return options[int(rng.random() * len(options))]

    def span(low: float, high: float) -> float:
        return low + (high - low) * rng.random()

    def thing(kind: str, size: float, x: float, y: float) -> Thing:
        paint = pick(hue for hue in HUES if (kind, hue) not in held_out)
        return Thing(kind, paint, pick(MATERIALS), size, x, y, span(-1, 1) * KINDS[kind].turn)

    main = thing(CLASSES[index % len(CLASSES)], span(0.85, 1.1), span(-0.3, 0.3), span(-0.3, 0.3))
    things = [replace(main, hue=hue or main.hue)]
    count = int(rng.random() * 3)
    while len(things) <= count:
        y = span(-0.9, 1.1)
        new = thing(pick(CLASSES), span(0.34, 0.46), span(-1, 1) * (1.5 + 0.22 * y), y)
        if all(apart(new, old) for old in things):
            things.append(new)
    light = span(-75, 75), span(38, 62)
    return Scene(tuple(things), light, span(20, 36), pick(WALLS), pick(TABLES))


def apart(a: Thing, b: Thing) -> bool:
    """Whether two objects neither touch nor hide much of each other."""
    reach = a.size * KINDS[a.kind].width + b.size * KINDS[b.kind].width + 0.05
    return abs(a.x - b.x) > 0.85 * reach and (a.x - b.x) ** 2 + (a.y - b.y) ** 2 > reach**2


# Rendering


class Stage:
    """Scenes as tensors. The objects of all scenes are in the order of their classes."""

    def __init__(self, scenes: list[Scene]):
        order = [(CLASSES.index(t.kind), b, t) for b, scene in enumerate(scenes) for t in scene.things]
        order.sort(key=lambda entry: entry[0])
        self.kind_K = torch.tensor([k for k, _, _ in order])
        self.scene_K = torch.tensor([b for _, b, _ in order])
        things = [t for _, _, t in order]
        self.size_K = torch.tensor([t.size for t in things])
        self.radius_K = torch.tensor([t.size * KINDS[t.kind].radius for t in things])
        self.foot_3K = torch.tensor([(t.x, t.y, 0.0) for t in things]).T
        self.middle_3K = torch.tensor([(t.x, t.y, t.size * KINDS[t.kind].middle) for t in things]).T
        self.turn_2K = torch.tensor([(cos(radians(t.turn)), sin(radians(t.turn))) for t in things]).T
        self.paint_3K = linear([HUES[t.hue] for t in things])
        self.other_3K = linear([CHARCOAL if t.hue == "white" else CREAM for t in things])
        self.striped_K = torch.tensor([t.material == "striped" for t in things])
        self.glossy_K = torch.tensor([float(t.material == "glossy") for t in things])
        self.low_3B = linear([WALLS[s.wall][0] for s in scenes])
        self.high_3B = linear([WALLS[s.wall][1] for s in scenes])
        self.table_3B = linear([TABLES[s.table] for s in scenes])
        self.light_3B = torch.tensor([towards(*s.light) for s in scenes]).T
        self.eye_2B = torch.tensor([(cos(radians(s.camera)), sin(radians(s.camera))) for s in scenes]).T
        self.scene_N = torch.arange(len(scenes)).repeat_interleave(len(RAYS) * SIDE**2)

    def pairs(self, o_3N: Tensor, d_3N: Tensor, wanted_N: Tensor | None = None, spread: float = 0.0):
        """Rays that pass an object's sphere, widened by `spread` per unit of way: (k_P, n_P, along_P, chord_P).

        `along` is the way to the point that is closest to the sphere's middle, `chord` half of what lies inside.
        """
        rays = len(self.scene_N) // self.low_3B.shape[1]
        o_3KR, d_3KR = (v.view(3, -1, rays)[:, self.scene_K] for v in (o_3N, d_3N))
        to_3KR = self.middle_3K[:, :, None] - o_3KR
        along = dot(to_3KR, d_3KR)
        wide = self.radius_K[:, None] + spread * along.clamp(min=0)
        chord = wide * wide + along * along - dot(to_3KR, to_3KR)
        inside = (chord > 0) & (along > -self.radius_K[:, None])
        if wanted_N is not None:
            inside &= wanted_N.view(-1, rays)[self.scene_K]
        k, r = inside.nonzero(as_tuple=True)
        return k, self.scene_K[k] * rays + r, along[k, r], chord[k, r].sqrt()

    def neighbours(self, p_3N: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        """Points that are closer to an object's sphere than `reach` times its size: (k_P, n_P)."""
        rays = len(self.scene_N) // self.low_3B.shape[1]
        to_3KR = self.middle_3K[:, :, None] - p_3N.view(3, -1, rays)[:, self.scene_K]
        close = dot(to_3KR, to_3KR) < ((self.radius_K + reach * self.size_K) ** 2)[:, None]
        k, r = close.nonzero(as_tuple=True)
        return k, self.scene_K[k] * rays + r

    def local(self, p_3P: Tensor, k_P: Tensor, at_origin: bool = False) -> Tensor:
        """Points in the frames of objects, or directions where `at_origin`."""
        x, y, z = p_3P if at_origin else (p_3P - self.foot_3K[:, k_P]) / self.size_K[k_P]
        c, s = self.turn_2K[:, k_P]
        return torch.stack([c * x + s * y, c * y - s * x, z])

    def by_kind(self, function: Callable[..., Tensor], k_P: Tensor, *tensors: Tensor) -> Tensor:
        """function(sdf, *parts) of the pairs of each class, joined along the last axis."""
        counts = self.kind_K[k_P].bincount(minlength=len(CLASSES)).tolist()
        parts = zip(*(t.split(counts, -1) for t in tensors), strict=True)
        return torch.cat([function(KINDS[c].sdf, *p) for c, p in zip(CLASSES, parts, strict=True)], -1)


def linear(colours: list[tuple[int, int, int]]) -> Tensor:
    """Bytes -> (3, n), squared, in [0, 1]."""
    return (torch.tensor(colours).T / 255.0) ** 2


def towards(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """The direction of the light, in front of the table."""
    a, e = radians(azimuth), radians(elevation)
    return sin(a) * cos(e), -cos(a) * cos(e), sin(e)


def dot(a_3: Tensor, b_3: Tensor) -> Tensor:
    return a_3[0] * b_3[0] + a_3[1] * b_3[1] + a_3[2] * b_3[2]


def unit(v_3: Tensor) -> Tensor:
    return v_3 / dot(v_3, v_3).sqrt().clamp(min=1e-9)


def mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share


def step(x: Tensor, low: float, high: float) -> Tensor:
    """Smoothly from 0 at `low` to 1 at `high`."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def march(sdf, o_3P: Tensor, d_3P: Tensor, t_P: Tensor, end_P: Tensor, steps: int = 40) -> Tensor:
    """The way to the surface by sphere tracing from `t_P`, infinite where there is none before `end_P`."""
    hit_P = torch.full_like(t_P, torch.inf)
    at = torch.arange(len(t_P))
    for i in range(steps):
        h = sdf(*(o_3P + d_3P * t_P))
        t_P = t_P + h
        if i % 4 == 3:
            near = h < 0.003
            hit_P[at[near]] = t_P[near]
            go = (~near & (t_P < end_P)).nonzero()[:, 0]
            if not len(go):
                break
            at, o_3P, d_3P, t_P, end_P = at[go], o_3P[:, go], d_3P[:, go], t_P[go], end_P[go]
    return hit_P


def shade(sdf, o_3P: Tensor, d_3P: Tensor, t_P: Tensor, end_P: Tensor, steps: int = 24) -> Tensor:
    """The share of an area light that an object leaves, in [0, 1]: the smallest angle by which the ray misses it."""
    least_P = torch.ones_like(t_P)
    at = torch.arange(len(t_P))
    least = least_P
    for i in range(steps):
        h = sdf(*(o_3P + d_3P * t_P))
        least = torch.minimum(least, SHARPNESS * h / t_P)
        t_P = t_P + h.clamp(0.04, 0.4)
        if i % 4 == 3:
            least_P[at] = least
            go = ((least > -1) & (t_P < end_P)).nonzero()[:, 0]
            if not len(go):
                break
            at, o_3P, d_3P, t_P, end_P, least = at[go], o_3P[:, go], d_3P[:, go], t_P[go], end_P[go], least[go]
    return step(least_P, -1, 1)


def slope(sdf, p_3P: Tensor) -> Tensor:
    """Normals, from four distances at the corners of a tetrahedron."""
    total = torch.zeros_like(p_3P)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        e_31 = torch.tensor(corner)[:, None]
        total += e_31 * sdf(*(p_3P + 0.01 * e_31))
    return unit(total)


def open_sky(sdf, p_3P: Tensor, n_3P: Tensor) -> Tensor:
    """Ambient light that an object leaves, in [0, 1]: by how much nearer it is than a free view along the normal."""
    shut = sum(w * (h - sdf(*(p_3P + h * n_3P))).clamp(min=0) for h, w in ((0.1, 1.6), (0.25, 0.9), (0.5, 0.5)))
    return (1 - shut).clamp(min=0.1)


def rays(stage: Stage) -> tuple[Tensor, Tensor]:
    """Origins and directions of the camera's rays, both (3, N)."""
    at = torch.arange(SIDE)
    u = torch.cat([(at + across).repeat(SIDE) for across, _ in RAYS]) * (2 * VIEW / SIDE) - VIEW
    v = VIEW - torch.cat([(at + down).repeat_interleave(SIDE) for _, down in RAYS]) * (2 * VIEW / SIDE)
    c, s = stage.eye_2B[:, :, None]
    d = torch.stack([u.expand(len(c), -1), c + s * v, -s + c * v])
    o = torch.stack([torch.zeros_like(c), AIM[0] - AWAY * c, AIM[1] + AWAY * s])
    return o.expand(-1, -1, len(u)).reshape(3, -1), unit(d.reshape(3, -1))


def backdrop(stage: Stage, z_N: Tensor) -> Tensor:
    """Colour of the wall at a height."""
    return mix(stage.low_3B[:, stage.scene_N], stage.high_3B[:, stage.scene_N], step(z_N, -0.5, 3.5))


def surfaces(stage: Stage, o_3N: Tensor, d_3N: Tensor) -> tuple[Tensor, ...]:
    """What each ray meets: points, normals, colours, each (3, N), and gloss and object-or-not (N,)."""
    wall = 3.2
    to_table = o_3N[2] / (-d_3N[2]).clamp(min=1e-6)
    to_wall = (wall - o_3N[1]) / d_3N[1]
    t_N, on_wall = torch.minimum(to_table, to_wall), to_wall < to_table
    p_3N = o_3N + d_3N * t_N
    n_3N = torch.stack([torch.zeros_like(t_N), -on_wall.float(), (~on_wall).float()])
    corner = 1 - 0.3 * step(torch.where(on_wall, 0.7 - p_3N[2], p_3N[1] - wall + 0.9), 0, 0.9)
    paint_3N = torch.where(on_wall, backdrop(stage, p_3N[2]), stage.table_3B[:, stage.scene_N]) * corner

    k, n, along, chord = stage.pairs(o_3N, d_3N)
    o_3P, d_3P, size = stage.local(o_3N[:, n], k), stage.local(d_3N[:, n], k, True), stage.size_K[k]
    t = stage.by_kind(march, k, o_3P, d_3P, (along - chord) / size, (along + chord) / size)
    best_N = t_N.scatter_reduce(0, n, t * size, "amin")
    front = (t * size == best_N[n]).nonzero()[:, 0]
    k, n, p_3P = k[front], n[front], (o_3P + d_3P * t.where(t < torch.inf, 0.0))[:, front]
    x, y, z = stage.by_kind(slope, k, p_3P)
    c, s = stage.turn_2K[:, k]
    n_3N[:, n] = torch.stack([c * x - s * y, s * x + c * y, z])
    p_3N = o_3N + d_3N * best_N
    band = stage.striped_K[k] & ((p_3P[2] * 3.2 + 0.2) % 2 >= 1)
    paint = torch.where(band, stage.other_3K[:, k], stage.paint_3K[:, k])
    stalk = (stage.kind_K[k] == CLASSES.index("pear")) & (p_3P[2] > 1.69)
    paint_3N[:, n] = torch.where(stalk, linear([(96, 68, 48)]), paint)
    gloss_N, solid_N = torch.zeros_like(t_N), torch.zeros_like(t_N, dtype=torch.bool)
    gloss_N[n], solid_N[n] = stage.glossy_K[k], True
    return p_3N, n_3N, paint_3N, gloss_N, solid_N


def ambient(stage: Stage, p_3N: Tensor, n_3N: Tensor, solid_N: Tensor) -> Tensor:
    """Ambient light that objects and table leave, (N,) in [0, 1]."""
    k, n = stage.neighbours(p_3N, 0.75)
    parts = stage.by_kind(open_sky, k, stage.local(p_3N[:, n], k), stage.local(n_3N[:, n], k, True))
    open_N = torch.ones_like(p_3N[0]).scatter_reduce(0, n, parts, "amin")
    shut = sum(w * (h - p_3N[2] - h * n_3N[2]).clamp(min=0) for h, w in ((0.15, 1.0), (0.5, 0.4)))
    return open_N * torch.where(solid_N, (1 - shut).clamp(min=0.2), 1.0)


def lit(stage: Stage, d_3N: Tensor, p_3N: Tensor, n_3N: Tensor, paint_3N: Tensor, gloss_N: Tensor, solid_N: Tensor):
    """Light that the camera receives along each ray, (3, N)."""
    light_3N = stage.light_3B[:, stage.scene_N]
    facing = dot(n_3N, light_3N)
    start_3N = p_3N + 0.02 * n_3N
    k, n, along, chord = stage.pairs(start_3N, light_3N, facing > 0, 1 / SHARPNESS)
    o_3P, d_3P, size = stage.local(start_3N[:, n], k), stage.local(light_3N[:, n], k, True), stage.size_K[k]
    left = stage.by_kind(shade, k, o_3P, d_3P, ((along - chord) / size).clamp(min=0.02), (along + chord) / size)
    pool_N = 1.06 / (1 + 0.02 * (p_3N[0] * p_3N[0] + p_3N[1] * p_3N[1]))  # the lamp's, on the table
    key_N = pool_N * facing.clamp(min=0) * torch.ones_like(facing).scatter_reduce(0, n, left, "amin")
    sky_N = ambient(stage, p_3N, n_3N, solid_N)

    table_3N, warm, cool = stage.table_3B[:, stage.scene_N], torch.tensor([[1.0], [0.95], [0.86]]), 0.62
    around_3N = mix(table_3N * 0.6, torch.tensor([[0.88], [0.94], [1.0]]), n_3N[2] * 0.5 + 0.5)
    out_3N = paint_3N * (1.05 * warm * key_N + cool * around_3N * sky_N)
    facing_eye = dot(n_3N, d_3N)
    r_3N = d_3N - 2 * facing_eye * n_3N
    fresnel = (1 + facing_eye).clamp(0, 1)
    fresnel = 0.05 + 0.5 * fresnel * fresnel * fresnel * fresnel
    seen_3N = torch.where(r_3N[2] < 0, table_3N * 0.7, backdrop(stage, r_3N[2] * 3))
    lamp = step(dot(r_3N, light_3N), 0.93, 0.985) * step(key_N, 0, 0.3)
    out_3N = out_3N + gloss_N * (fresnel * seen_3N * sky_N + 0.8 * lamp)
    broad = dot(r_3N, light_3N).clamp(min=0)
    broad = broad * broad * broad * broad
    return out_3N + solid_N * (0.05 * broad * key_N)


def render(scenes: list[Scene], batch: int = 32) -> Tensor:
    """(B, 3, 64, 64) in [0, 1]."""
    out = []
    for i in range(0, len(scenes), batch):
        stage = Stage(scenes[i : i + batch])
        o_3N, d_3N = rays(stage)
        x = lit(stage, d_3N, *surfaces(stage, o_3N, d_3N))
        x = x * (1 + x * 0.25) / (1 + x * 0.25 + x * x * 0.25 * 0.6)  # highlights are compressed
        a, b, c, d = x.clamp(0, 1).view(3, -1, len(RAYS), SIDE, SIDE).unbind(2)
        x = (a + b + c + d) / 4
        out.append(x.sqrt().transpose(0, 1))
    return torch.cat(out)


class Frames:
    """(N, 3, 64, 64) bytes, indexed by a tensor. Rendered when first asked for, and kept in two files of `folder`.

    Each image has a mark, set once it is whole: to break off loses nothing, and processes may share a folder, as both
    write the same bytes. The files are sparse and take the room of what has been rendered.
    """

    def __init__(self, folder: Path, seed: int, n: int, held_out: Collection[tuple[str, str]]):
        folder.mkdir(parents=True, exist_ok=True)
        self.seed, self.held_out, shape = seed, held_out, (n, 3, SIDE, SIDE)
        self.pixels = torch.from_file(str(folder / "pixels"), True, n * 3 * SIDE**2, dtype=torch.uint8).view(shape)
        self.done = torch.from_file(str(folder / "done"), True, n, dtype=torch.uint8)

    def __getitem__(self, indices: Tensor) -> Tensor:
        for part in indices[self.done[indices] == 0].unique().split(32):
            self.pixels[part] = to_bytes(render([sample(self.seed, i, self.held_out) for i in part.tolist()]))
            self.done[part] = 1
        return self.pixels[indices]


class StillLife(InMemory):
    """60,000 training scenes and 5,000 test scenes, RGB of 64 x 64; image i has class i % 10.

    Neither split has a (class, hue) of `held_out`: `render([sample(seed, index, hue=...)])` shows what was never seen.
    `root` is where rendered images are kept, 737 MB when all are.
    """

    classes: tuple[str, ...] = CLASSES
    render = staticmethod(render)

    def __init__(
        self,
        split: str,
        root: Path | None = None,
        size: tuple[int, int] = (SIDE, SIDE),
        channels: int = 3,
        held_out: Collection[tuple[str, str]] = HELD_OUT,
    ):
        super().__init__(size, channels)
        self.seed, self.n, self.held_out = SEEDS[split], COUNTS[split], held_out
        self.root = (root or CACHE / "still-life") / self.checksum[:16]

    @cached_property
    def labels(self) -> Tensor:
        return torch.arange(self.n) % len(CLASSES)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of what the pixels follow from."""
        key = f"still life {VERSION} {self.seed} {self.n} {sorted(self.held_out)}"
        return hashlib.sha256(key.encode()).hexdigest()

    @cached_property
    def all_images(self) -> Frames:  # type: ignore[override]
        return Frames(self.root, self.seed, self.n, self.held_out)

    def factors(self, index: int) -> Scene:
        """What image `index` shows."""
        return sample(self.seed, index, self.held_out)
