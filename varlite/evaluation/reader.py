"""still-reader: what a picture of still life shows, read by a network as a scene: every factor that scenes.py draws.

It is trained on rendered scenes alone (training/train_reader.py), held-out combinations among them, and never on a
generated picture. Objects are found as in CenterNet (arXiv 1904.07850): each cell of a grid says whether the middle of
an object lies in it, and which object it is. From the whole picture the network reads light, camera, wall and table
and, a second time, the main object and the count: two ways of reading that should agree.

Suffixes: N pictures, P objects of all pictures, C channels, F columns of what is read, h w the grid.
"""

from dataclasses import dataclass
from math import cos, radians, sin
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varlite.checkpoints.assemble import open_network
from varlite.datasets.pixels import to_float
from varlite.datasets.scenes import AIM, AWAY, HUES, MATERIALS, SIDE, TABLES, VIEW, WALLS, Scene, Thing
from varlite.datasets.shapes import CLASSES, SHAPES
from varlite.evaluation.judges.second_classifier import Residual
from varlite.io.places import CHECKPOINTS

NAME = "still-reader"
GRID = 16  # cells a side, of four pixels
MAIN = 0.65  # size from which on an object is a main one: they have 0.85 to 1.1, the others 0.34 to 0.46
TURNABLE = {"cube", "torus", "star", "arch"}  # of the others the turn can hardly be seen
STEP = 250  # pictures at a time

WORDS: dict[str, tuple[str, ...]] = {
    "kind": CLASSES, "hue": tuple(HUES), "material": MATERIALS, "count": ("1", "2", "3"), "wall": tuple(WALLS),
    "table": tuple(TABLES),
}  # fmt: skip
# Numbers are read as (value - middle) / half of their range.
NUMBERS = {
    "x": (0.0, 1.5), "y": (0.0, 1.0), "size": (0.7, 0.4), "turn": (0.0, 42.0), "azimuth": (0.0, 75.0),
    "elevation": (50.0, 12.0), "camera": (28.0, 8.0),
}  # fmt: skip
OF_OBJECT = ("kind", "hue", "material", "x", "y", "size", "turn")
OF_PICTURE = ("kind", "count", "azimuth", "elevation", "camera", "wall", "table")


def widths(names: tuple[str, ...]) -> list[int]:
    """Columns of each factor: one a word, or one for a number."""
    return [len(WORDS.get(name, "1")) for name in names]


class Reader(nn.Module):
    """img (N, 3, 64, 64) in [-1, 1] -> (N, 1 + F, 16, 16) of cells, whether there is an object and which, and (N, F) of
    the picture: logits of words, and numbers, in the order of OF_OBJECT and OF_PICTURE."""

    def __init__(self, fine: int = 32, middle: int = 64, coarse: int = 128):
        super().__init__()
        self.stem, self.fine = nn.Conv2d(5, fine, 4, 2, 1), Residual(fine)
        self.halve, self.middle = nn.Conv2d(fine, middle, 4, 2, 1), Residual(middle)
        self.halve_again, self.coarse = (
            nn.Conv2d(middle, coarse, 2, 2),
            nn.Sequential(Residual(coarse), Residual(coarse)),
        )
        self.back, self.cells = nn.Conv2d(coarse, middle, 1), Residual(middle)
        self.of_object = nn.Sequential(
            nn.BatchNorm2d(middle), nn.SiLU(), nn.Conv2d(middle, coarse, 1), nn.SiLU(),
            nn.Conv2d(coarse, 1 + sum(widths(OF_OBJECT)), 1),
        )  # fmt: skip
        nn.init.constant_(self.of_object[-1].bias[:1], -4.0)  # most cells are empty
        self.norm = nn.BatchNorm2d(coarse)
        self.of_picture = nn.Sequential(
            nn.Linear(2 * coarse, coarse), nn.SiLU(), nn.Linear(coarse, sum(widths(OF_PICTURE)))
        )

    def forward(self, img_N3HW: Tensor) -> tuple[Tensor, Tensor]:
        at = torch.linspace(-1, 1, SIDE, device=img_N3HW.device, dtype=img_N3HW.dtype)
        places_2HW = torch.stack(torch.meshgrid(at, at, indexing="ij"))
        x = torch.cat([img_N3HW, places_2HW.expand(len(img_N3HW), -1, -1, -1)], 1)
        x = self.middle(self.halve(self.fine(self.stem(x))))
        y = self.coarse(self.halve_again(x))
        x = self.cells(x + F.interpolate(self.back(y), scale_factor=2.0))
        y = F.silu(self.norm(y))
        return self.of_object(x), self.of_picture(torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1))


def load_reader(path: Path = CHECKPOINTS / NAME / "model.safetensors") -> Reader:
    """The network in a file written by `varlite train-reader`, in evaluation mode and float32.

    Raises FileNotFoundError for a missing file, ValueError for a file of something else.
    """
    return open_network(Reader, path, "reader").to(memory_format=torch.channels_last)


def middle_cell(scene: Scene, thing: Thing) -> tuple[int, int]:
    """(row, column) of the cell in which the middle of an object is seen."""
    e = radians(scene.camera)
    y = thing.y - AIM[0] + AWAY * cos(e)
    z = thing.size * SHAPES[thing.kind].middle - AIM[1] - AWAY * sin(e)
    depth = cos(e) * y - sin(e) * z
    u, v = thing.x / depth, (sin(e) * y + cos(e) * z) / depth
    row, column = (int((place / VIEW + 1) / 2 * GRID) for place in (-v, u))
    return min(max(row, 0), GRID - 1), min(max(column, 0), GRID - 1)


@dataclass(frozen=True)
class Reading:
    """What was read: the scene, its things from the largest to the smallest and perhaps none; and, read a second time
    from the whole picture, the kind of the main object and the count."""

    scene: Scene
    kind: str
    count: int

    @property
    def agrees(self) -> bool:
        """One main object, up to two small ones, and both ways of reading agree."""
        sizes = [thing.size for thing in self.scene.things]
        if not 1 <= len(sizes) <= 3 or sizes[0] < MAIN or max(sizes[1:], default=0) >= MAIN:
            return False
        return self.scene.things[0].kind == self.kind and len(sizes) == self.count


@torch.inference_mode()
def read(model: Reader, images_N3HW: Tensor) -> list[Reading]:
    """Readings of bytes (N, 3, 64, 64). Raises ValueError for images of another sort."""
    if images_N3HW.dtype != torch.uint8 or images_N3HW.ndim != 4 or tuple(images_N3HW.shape[1:]) != (3, SIDE, SIDE):
        raise ValueError(
            f"images: {NAME} takes uint8 images (N, 3, {SIDE}, {SIDE}), got {images_N3HW.dtype} "
            f"{tuple(images_N3HW.shape)}"
        )
    found, device = [], model.norm.weight.device
    for img in images_N3HW.split(STEP):
        x = to_float(img.to(device)).contiguous(memory_format=torch.channels_last)
        cells, pictures = (answer.cpu() for answer in model(x))
        found += [one_reading(cell, picture) for cell, picture in zip(cells, pictures, strict=True)]
    return found


def one_reading(cell_Fhw: Tensor, picture_F: Tensor) -> Reading:
    """From the network's answer for one picture: objects are where a cell says so louder than its neighbours."""
    here_hw = cell_Fhw[0]
    peaks = (here_hw > 0) & (here_hw == F.max_pool2d(here_hw[None], 3, 1, 1)[0])
    things = [Thing(**decode(column_F, OF_OBJECT)) for column_F in cell_Fhw[1:, peaks].T]
    whole = decode(picture_F, OF_PICTURE)
    scene = Scene(
        tuple(sorted(things, key=lambda thing: -thing.size)), (whole["azimuth"], whole["elevation"]), whole["camera"],
        whole["wall"], whole["table"],
    )  # fmt: skip
    return Reading(scene, whole["kind"], int(whole["count"]))


def decode(row_F: Tensor, names: tuple[str, ...]) -> dict:
    """The factors in a row of the network's answer. Numbers are held within their range and a little beyond."""
    found = {}
    for name, part in zip(names, row_F.split(widths(names)), strict=True):
        if name in WORDS:
            found[name] = WORDS[name][int(part.argmax())]
        else:
            middle, half = NUMBERS[name]
            found[name] = middle + half * min(max(part.item(), -1.3), 1.3)
    return found


def encode(of: object, names: tuple[str, ...]) -> list[float]:
    """The inverse of `decode` for an object with these attributes: words by their number."""
    row = []
    for name in names:
        value = getattr(of, name)
        row.append(WORDS[name].index(value) if name in WORDS else (value - NUMBERS[name][0]) / NUMBERS[name][1])
    return row
