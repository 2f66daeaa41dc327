"""Pictures of scenes: spheres traced to their surfaces, soft shadows, one area light, perspective.

A picture follows, bit for bit, from its scene: all that is computed for a pixel is rounded exactly by IEEE 754,
whatever the batch. Colours are squared (gamma 2) while light is computed.

Suffixes: B scenes, K objects of all scenes, N rays of all scenes, P pairs of a ray and an object, 3 coordinates or RGB.
"""

from collections.abc import Callable
from functools import partial
from math import cos, radians, sin

import torch
from torch import Tensor

from varlite.datasets.scenes import (
    AIM,
    AWAY,
    BROWN,
    CHARCOAL,
    CREAM,
    HUES,
    MATERIALS,
    SHARPNESS,
    SIDE,
    SPOTS,
    TABLES,
    VIEW,
    WALL,
    WALLS,
    Scene,
)  # fmt: skip
from varlite.datasets.shapes import CLASSES, SHAPES, norm


def linear(colours: list[tuple[int, int, int]]) -> Tensor:
    """Bytes -> (3, n), squared, in [0, 1]."""
    return (rows(colours, 3) / 255) ** 2


def rows(values: list, n: int, dtype: torch.dtype | None = None) -> Tensor:
    """Tuples of n -> (n, len(values)), also where there are none: scenes may be without an object."""
    return torch.tensor(values, dtype=dtype).view(-1, n).T


def dot(a_3: Tensor, b_3: Tensor) -> Tensor:
    return a_3[0] * b_3[0] + a_3[1] * b_3[1] + a_3[2] * b_3[2]


def step(x: Tensor, low: float, high: float) -> Tensor:
    """Smoothly from 0 at `low` to 1 at `high`."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


class Stage:
    """Scenes as tensors: all objects in the order of their classes, and all rays, of length 1, from the camera."""

    def __init__(self, scenes: list[Scene]):
        placed = [(CLASSES.index(t.kind), b, t) for b, scene in enumerate(scenes) for t in scene.things]
        placed.sort(key=lambda entry: entry[:2])
        self.kind_K, self.scene_K = rows([entry[:2] for entry in placed], 2, torch.int64)
        things = [(t, SHAPES[t.kind]) for _, _, t in placed]
        self.size_K = torch.tensor([t.size for t, _ in things])
        self.radius_K = torch.tensor([t.size * kind.radius for t, kind in things])
        self.foot_3K = rows([(t.x, t.y, 0) for t, _ in things], 3)
        self.middle_3K = rows([(t.x, t.y, t.size * kind.middle) for t, kind in things], 3)
        self.turn_2K = rows([(cos(radians(t.turn)), sin(radians(t.turn))) for t, _ in things], 2)
        self.paint_3K = linear([HUES[t.hue] for t, _ in things])
        self.stripe_3K = linear([CHARCOAL if t.hue == "white" else CREAM for t, _ in things])
        self.striped_K, self.glossy_K = (
            torch.tensor([t.material == m for t, _ in things], dtype=torch.bool) for m in MATERIALS[:0:-1]
        )
        self.rays = len(SPOTS) * SIDE**2
        wall = [linear([WALLS[s.wall][i] for s in scenes]) for i in (0, 1)]
        sun = [(radians(azimuth), radians(elevation)) for azimuth, elevation in (s.light for s in scenes)]
        sun_3B = torch.tensor([(sin(a) * cos(e), -cos(a) * cos(e), sin(e)) for a, e in sun]).T
        each = (*wall, linear([TABLES[s.table] for s in scenes]), sun_3B)
        self.low_3N, self.high_3N, self.table_3N, self.sun_3N = (v.repeat_interleave(self.rays, 1) for v in each)
        self.eye_3N, self.look_3N = self.camera([radians(s.camera) for s in scenes])

    def camera(self, elevations: list[float]) -> tuple[Tensor, Tensor]:
        """Origins and directions (3, N) of rays, ordered by scene, spot in a pixel, row and column."""
        u, v = (torch.arange(SIDE) + torch.tensor(SPOTS).T[:, :, None]) * (2 * VIEW / SIDE) - VIEW
        u, v = u[:, None, :].expand(-1, SIDE, -1).flatten(), -v[:, :, None].expand(-1, -1, SIDE).flatten()
        c, s = torch.tensor([(cos(e), sin(e)) for e in elevations]).T[:, :, None]
        d_3N = torch.stack([u.expand(len(c), -1), c + s * v, c * v - s]).view(3, -1)
        o_3B1 = torch.stack([0 * c, AIM[0] - AWAY * c, AIM[1] + AWAY * s])
        return o_3B1.expand(-1, -1, self.rays).reshape(3, -1), d_3N / norm(*d_3N)

    def wall(self, z_N: Tensor) -> Tensor:
        """Colour (3, N) of the wall at a height."""
        return self.low_3N + (self.high_3N - self.low_3N) * step(z_N, -0.5, 3.5)

    def pairs(self, o_3N: Tensor, d_3N: Tensor, wanted_N: Tensor | None = None, margin: float = 0, spread: float = 0):
        """Rays that pass the sphere about an object, (k_P, n_P, near_P, far_P): ways in and out, in sizes of objects.

        The sphere is wider by `margin` sizes of the object and by `spread` per unit of way.
        """
        o_3KR, d_3KR = (v.view(3, -1, self.rays)[:, self.scene_K] for v in (o_3N, d_3N))
        to_3KR = self.middle_3K[:, :, None] - o_3KR
        along = dot(to_3KR, d_3KR)
        wide = (self.radius_K + margin * self.size_K)[:, None] + spread * along.clamp(min=0)
        chord = wide * wide + along * along - dot(to_3KR, to_3KR)
        inside = (chord > 0) & (along > -self.radius_K[:, None])
        if wanted_N is not None:
            inside &= wanted_N.view(-1, self.rays)[self.scene_K]
        k, r = inside.nonzero(as_tuple=True)
        along, chord, size = along[k, r], chord[k, r].sqrt(), self.size_K[k]
        return k, self.scene_K[k] * self.rays + r, (along - chord) / size, (along + chord) / size

    def apply(self, function: Callable[..., Tensor], k_P, n_P, p_3N: Tensor, d_3N: Tensor, *rest_P: Tensor) -> Tensor:
        """function(distance, points, directions, *rest) of all pairs, class by class and in the objects' frames."""
        counts, (c, s) = self.kind_K[k_P].bincount(minlength=len(CLASSES)).tolist(), self.turn_2K[:, k_P]
        world = (p_3N[:, n_P] - self.foot_3K[:, k_P]) / self.size_K[k_P], d_3N[:, n_P]
        local = [torch.stack([c * x + s * y, c * y - s * x, z]) for x, y, z in world]
        parts = zip(SHAPES.values(), *(t.split(counts, -1) for t in (*local, *rest_P)), strict=True)
        return torch.cat([function(kind.distance, *part) for kind, *part in parts], -1)


def march(distance, o_3P: Tensor, d_3P: Tensor, t_P: Tensor, end_P: Tensor, soft: bool = False) -> Tensor:
    """The way to the surface, by sphere tracing from `t` to `end`, or infinity. If `soft`, the share of a round light
    that is left, in [0, 1], from the smallest angle by which the ray misses the object."""
    way_P, value_P, at = t_P.clone(), torch.ones_like(t_P), torch.arange(len(t_P))
    value = value_P
    for i in range(40):
        h = distance(*(o_3P + d_3P * t_P))
        value = torch.minimum(value, SHARPNESS * h / t_P) if soft else h
        t_P = t_P + (h.clamp(0.04, 0.4) if soft else h)
        if i % 4 == 3:  # goes on with those that are under way
            way_P[at], value_P[at] = t_P, value
            go = ((value > (-1 if soft else 0.003)) & (t_P < end_P)).nonzero()[:, 0]
            at, o_3P, d_3P, t_P, end_P, value = (x[..., go] for x in (at, o_3P, d_3P, t_P, end_P, value))
    return step(value_P, -1, 1) if soft else way_P.masked_fill(value_P > 0.003, torch.inf)


def slope(distance, p_3P: Tensor, _: Tensor) -> Tensor:
    """Normals, from the distances at the corners of a tetrahedron."""
    corners = torch.tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])[:, :, None]
    n_3P = sum(e_31 * distance(*(p_3P + 0.01 * e_31)) for e_31 in corners)
    return n_3P / norm(*n_3P).clamp(min=1e-9)


def openness(distance, p_3P: Tensor, n_3P: Tensor) -> Tensor:
    """Ambient light that an object leaves, in [0, 1]: points along the normal should be as far from it as they went."""
    shut = sum(w * (h - distance(*(p_3P + h * n_3P))).clamp(min=0) for h, w in ((0.1, 1.6), (0.25, 0.9), (0.5, 0.5)))
    return (1 - shut).clamp(min=0.1)


def surfaces(stage: Stage) -> tuple[Tensor, ...]:
    """What the rays meet: points, normals and colours (3, N), whether it is an object, and a glossy one (N,)."""
    o_3N, d_3N = stage.eye_3N, stage.look_3N
    to_table, to_wall = -o_3N[2] / d_3N[2].clamp(max=-1e-6), (WALL - o_3N[1]) / d_3N[1]
    t_N, on_wall = torch.minimum(to_table, to_wall), to_wall < to_table
    _, y, z = o_3N + d_3N * t_N
    n_3N = torch.stack([torch.zeros_like(t_N), -on_wall.float(), (~on_wall).float()])
    corner = 1 - 0.3 * step(torch.where(on_wall, 0.7 - z, y - WALL + 0.9), 0, 0.9)
    paint_3N = torch.where(on_wall, stage.wall(z), stage.table_3N) * corner

    k, n, near, far = stage.pairs(o_3N, d_3N)
    way = stage.apply(march, k, n, o_3N, d_3N, near, far) * stage.size_K[k]
    t_N = t_N.scatter_reduce(0, n, way, "amin")
    front = (way == t_N[n]).nonzero()[:, 0]
    k, n, p_3N = k[front], n[front], o_3N + d_3N * t_N
    x, y, z = stage.apply(slope, k, n, p_3N, d_3N)
    c, s = stage.turn_2K[:, k]
    n_3N[:, n] = torch.stack([c * x - s * y, s * x + c * y, z])
    height = p_3N[2, n] / stage.size_K[k]
    band = stage.striped_K[k] & ((height * 3.2 + 0.2) % 2 >= 1)
    paint_3P = torch.where(band, stage.stripe_3K[:, k], stage.paint_3K[:, k])
    stalk = (stage.kind_K[k] == CLASSES.index("pear")) & (height > 1.69)
    paint_3N[:, n] = torch.where(stalk, linear([BROWN]), paint_3P)
    solid_N, glossy_N = torch.zeros_like(on_wall), torch.zeros_like(on_wall)
    solid_N[n], glossy_N[n] = True, stage.glossy_K[k]
    return p_3N, n_3N, paint_3N, solid_N, glossy_N


def shadows(stage: Stage, p_3N: Tensor, n_3N: Tensor, solid_N: Tensor) -> tuple[Tensor, Tensor]:
    """Light of the lamp that reaches each point, and share of the ambient light, (N,) each."""
    facing = dot(n_3N, stage.sun_3N)
    start_3N = p_3N + 0.02 * n_3N
    k, n, near, far = stage.pairs(start_3N, stage.sun_3N, facing > 0, spread=1 / SHARPNESS)
    left = stage.apply(partial(march, soft=True), k, n, start_3N, stage.sun_3N, near.clamp(min=0.02), far)
    pool = 1.06 / (1 + 0.02 * (p_3N[0] * p_3N[0] + p_3N[1] * p_3N[1]))  # of light on the table
    lamp_N = pool * facing.clamp(min=0) * torch.ones_like(facing).scatter_reduce(0, n, left, "amin")

    k, n, _, _ = stage.pairs(p_3N, torch.zeros_like(p_3N), margin=0.75)
    left = stage.apply(openness, k, n, p_3N, n_3N)
    shut = sum(w * (h - p_3N[2] - h * n_3N[2]).clamp(min=0) for h, w in ((0.15, 1.0), (0.5, 0.4)))  # by the table
    sky_N = torch.where(solid_N, (1 - shut).clamp(min=0.2), 1)
    return lamp_N, sky_N * torch.ones_like(facing).scatter_reduce(0, n, left, "amin")


def light(stage: Stage) -> Tensor:
    """Light that comes back along each ray, (3, N), from 0 to a little above 1."""
    p_3N, n_3N, paint_3N, solid_N, glossy_N = surfaces(stage)
    lamp_N, sky_N = shadows(stage, p_3N, n_3N, solid_N)
    warm, cool = torch.tensor([[1.05, 1.0, 0.9], [0.55, 0.58, 0.62]])[:, :, None]
    around_3N = 0.37 * stage.table_3N * (0.5 - 0.5 * n_3N[2]) + cool * (0.5 + 0.5 * n_3N[2])
    out_3N = paint_3N * (warm * lamp_N + around_3N * sky_N)

    against = dot(n_3N, stage.look_3N)
    mirror_3N = stage.look_3N - 2 * against * n_3N
    grazing = (1 + against).clamp(0, 1) ** 2
    towards = dot(mirror_3N, stage.sun_3N).clamp(min=0)
    seen_3N = torch.where(mirror_3N[2] < 0, stage.table_3N * 0.7, stage.wall(mirror_3N[2] * 3))
    gloss_3N = (0.05 + 0.5 * grazing**2) * seen_3N * sky_N + 0.8 * step(towards, 0.93, 0.985) * step(lamp_N, 0, 0.3)
    return out_3N + glossy_N * gloss_3N + solid_N * (0.05 * (towards**2) ** 2 * lamp_N)


def render(scenes: list[Scene], batch: int = 32) -> Tensor:
    """(B, 3, 64, 64) in [0, 1]; `batch` scenes at a time, which changes nothing but speed and memory."""
    done = [torch.empty(0, 3, SIDE, SIDE)]
    for i in range(0, len(scenes), batch):
        x = light(Stage(scenes[i : i + batch]))
        x = (x + 0.25 * x * x) / (1 + 0.25 * x + 0.15 * x * x)  # bright colours are compressed
        a, b, c, d = x.clamp(0, 1).view(3, -1, len(SPOTS), SIDE, SIDE).unbind(2)
        done.append(((a + b + c + d) / 4).sqrt().transpose(0, 1))
    return torch.cat(done)
