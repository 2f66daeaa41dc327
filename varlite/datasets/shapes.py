"""The ten objects of still life: signed distances to their surfaces (or less), in a frame that stands on z = 0.

Lengths are in about half an object; x points right, y away from the camera, z up.
"""

from collections.abc import Callable
from math import cos, pi, sin
from typing import NamedTuple

import torch
from torch import Tensor


def norm(*v: Tensor) -> Tensor:
    return sum(x * x for x in v).sqrt()


def extruded(flat: Tensor, w: Tensor) -> Tensor:
    """Distance to a solid from those to its outline and to its two ends."""
    return torch.maximum(flat, w).clamp(max=0) + norm(flat.clamp(min=0), w.clamp(min=0))


def rings(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    r, nearest = norm(x, y), norm(x, y, z - 1.5) - 0.22
    for a, height, b in ((0.58, 0.27, 0.27), (0.42, 0.75, 0.23), (0.26, 1.15, 0.19)):
        nearest = torch.minimum(nearest, norm(r - a, z - height) - b)
    return nearest


def star(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    c, s = cos(pi / 5), sin(pi / 5)
    x, z = x.abs(), z - 0.87
    for sign in (1, -1):  # folded along its axes, all ten edges fall together
        fold = 2 * (sign * c * x - s * z).clamp(min=0)
        x, z = x - fold * sign * c, z + fold * s
    return extruded(0.918 * x.abs() + 0.395 * (z - 0.9), y.abs() - 0.2) - 0.07


def arch(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    opening = norm(x, (z - 0.62).clamp(min=0)) - 0.44
    return extruded(torch.maximum(extruded(x.abs() - 0.9, (z - 0.7).abs() - 0.66), -opening), y.abs() - 0.36) - 0.04


def pear(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    low, high = norm(x, y, z - 0.68) - 0.68, norm(x, y, z - 1.34) - 0.33
    blend = (1 - (low - high).abs() / 0.4).clamp(min=0)
    stalk = norm(x - 0.25 * (z - 1.6), y, ((z - 1.78).abs() - 0.16).clamp(min=0)) - 0.055
    return torch.minimum(torch.minimum(low, high) - 0.1 * blend * blend, stalk)


class Shape(NamedTuple):
    """A class: its distance, height of the middle and radius of a sphere about it, radius of its shadow at noon."""

    distance: Callable[[Tensor, Tensor, Tensor], Tensor]
    middle: float
    radius: float
    width: float


SHAPES = {
    "sphere": Shape(lambda x, y, z: norm(x, y, z - 0.88) - 0.88, 0.88, 0.9, 0.88),
    "cube": Shape(
        lambda x, y, z: norm(*((v.abs() - 0.64).clamp(min=0) for v in (x, y, z - 0.7))) - 0.06, 0.7, 1.2, 0.97
    ),
    "cylinder": Shape(lambda x, y, z: extruded(norm(x, y) - 0.6, (z - 0.84).abs() - 0.78) - 0.06, 0.84, 1.08, 0.66),
    "cone": Shape(lambda x, y, z: torch.maximum(0.896 * (norm(x, y) - 0.89) + 0.444 * z, -z), 0.7, 1.17, 0.89),
    "torus": Shape(lambda x, y, z: norm(norm(x, z - 0.92) - 0.62, y) - 0.3, 0.92, 0.94, 0.92),
    "rings": Shape(rings, 0.76, 1.05, 0.85),
    "star": Shape(star, 0.88, 1.13, 1.05),
    "bowl": Shape(lambda x, y, z: torch.maximum((norm(x, y, z - 1) - 0.94).abs() - 0.06, z - 0.94), 0.6, 1.14, 1.0),
    "arch": Shape(arch, 0.66, 1.22, 1.02),
    "pear": Shape(pear, 0.95, 1.08, 0.68),
}
CLASSES = tuple(SHAPES)
