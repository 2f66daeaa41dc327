"""Training of still-reader (evaluation/reader.py), on scenes whose factors are known.

The scenes of the training split, and two kinds that it is short of. It has no held-out combination of class and hue:
as many scenes with one as there would be without that rule come beside it, since the reader must know a red torus when
it sees one. And it has too few white objects to learn from them how gloss looks on white, which is a few levels of 255
brighter. Pictures are damaged a little, so that reconstructions can be read as well. No generated picture takes part.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from varlite.checkpoints.load import weights_file
from varlite.datasets.batches import ahead, batch_indices
from varlite.datasets.pixels import to_float
from varlite.datasets.scenes import HELD_OUT, SIDE, Scene, sample
from varlite.datasets.still_life import Frames, StillLife
from varlite.evaluation.judges.truth import HELD_OUT_SEED, held_out_indices, shares_read
from varlite.evaluation.reader import (
    GRID,
    NUMBERS,
    OF_OBJECT,
    OF_PICTURE,
    TURNABLE,
    WORDS,
    Reader,
    encode,
    load_reader,
    middle_cell,
    read,
    widths,
)
from varlite.io.files import sha256
from varlite.io.places import cache_folder
from varlite.io.provenance import command
from varlite.presets import Count, Positive, Steps, Weight
from varlite.training.engine import Engine, Trained
from varlite.training.loop import Training
from varlite.training.options import Options
from varlite.training.recipes import override, warmup_cosine
from varlite.training.run import Run, identity

CLIP = 5.0
PALE_SEED = HELD_OUT_SEED + 2  # the one between is for testing
VALIDATED = 500  # scenes of the test split


@dataclass(frozen=True)
class ReaderRecipe:
    """AdamW, linear warm-up, cosine to zero."""

    steps: Count = 2400
    batch: Count = 64
    lr: Positive = 3e-3
    warmup: Steps = 100
    weight_decay: Weight = 0.02
    held_out: Count = 6000  # scenes with a held-out combination, beside the 60,000 without
    pale: Count = 12000  # scenes whose main object is white, and matt or glossy


def pale(scene: Scene) -> bool:
    return scene.things[0].hue == "white" and scene.things[0].material != "striped"


class Picked:
    """`n` scenes of a seed, by their indices, and their pictures."""

    def __init__(self, folder: Path, seed: int, indices: list[int], held_out: Collection[tuple[str, str]]):
        self.scene: Callable[[int], Scene] = lambda i: sample(seed, indices[i], held_out)
        self.images = Frames(folder, len(indices), self.scene)

    def __len__(self) -> int:
        return len(self.images.marks)


class Labelled:
    """Training pictures with their scenes: those of the training split, then those that it is short of."""

    def __init__(self, held_out: int, pale_ones: int):
        self.usual = StillLife("train")
        self.checksum, folder = self.usual.checksum, f"{cache_folder()}/still-life/{self.usual.checksum[:16]}"
        rare = held_out_indices(HELD_OUT_SEED, held_out)
        white = list(islice((i for i in count() if pale(sample(PALE_SEED, i))), pale_ones))
        self.more = [
            Picked(Path(f"{folder}-held-out-{held_out}"), HELD_OUT_SEED, rare, ()),
            Picked(Path(f"{folder}-pale-{pale_ones}"), PALE_SEED, white, HELD_OUT),
        ]
        self.ends = torch.tensor([len(self.usual.labels), *map(len, self.more)]).cumsum(0)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def scene(self, i: int) -> Scene:
        part = int(torch.searchsorted(self.ends, i, right=True))
        return self.more[part - 1].scene(i - int(self.ends[part - 1])) if part else self.usual.factors(i)

    def images(self, rows: Tensor) -> Tensor:
        img = torch.empty(len(rows), 3, SIDE, SIDE, dtype=torch.uint8)
        part = torch.searchsorted(self.ends, rows, right=True)
        img[part == 0] = self.usual.images(rows[part == 0])
        for i, more in enumerate(self.more, 1):
            img[part == i] = more.images[rows[part == i] - self.ends[i - 1]]
        return img


class Truth(NamedTuple):
    """What the network should answer for a batch of B scenes with P objects in all; words are numbers."""

    where_P: Tensor  # cell of each object, of B x 16 x 16
    of_object_PX: Tensor  # in the order of OF_OBJECT
    of_picture_BX: Tensor  # in the order of OF_PICTURE

    @classmethod
    def of(cls, scenes: list[Scene]) -> "Truth":
        where, objects, pictures = [], [], []
        for b, scene in enumerate(scenes):
            for thing in scene.things:
                row, column = middle_cell(scene, thing)
                where.append((b * GRID + row) * GRID + column)
                objects.append(encode(thing, OF_OBJECT))
            azimuth, elevation = scene.light
            whole = SimpleNamespace(
                kind=scene.things[0].kind, count=str(len(scene.things)), azimuth=azimuth, elevation=elevation,
                camera=scene.camera, wall=scene.wall, table=scene.table,
            )  # fmt: skip
            pictures.append(encode(whole, OF_PICTURE))
        return cls(torch.tensor(where), torch.tensor(objects), torch.tensor(pictures))


def damage(img_B3HW: Tensor) -> Tensor:
    """Images in [-1, 1], a quarter of them as they are, a quarter made smaller and larger again, a quarter under
    cloudy noise and a quarter under both: as a tokenizer loses detail. Draws from torch's global generator."""
    B, _, H, W = img_B3HW.shape
    side = int(torch.randint(W * 3 // 8, W, ()))
    small = F.interpolate(img_B3HW, (side, side), mode="bilinear", antialias=True)
    soft = F.interpolate(small, (H, W), mode="bilinear")
    cells = 2 ** int(torch.randint(3, 7, ()))
    clouds = F.interpolate(torch.randn(B, 3, cells, cells), (H, W), mode="bilinear")
    clouds = clouds * 0.12 * torch.rand(B, 1, 1, 1)
    which = torch.arange(B) % 4
    soft = torch.where((which % 2 == 1)[:, None, None, None], soft, img_B3HW)
    return torch.where((which >= 2)[:, None, None, None], soft + clouds, soft).clamp(-1, 1)


def part_losses(row_PF: Tensor, truth_PX: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """(P,) losses by factor: cross-entropy of words, Huber of numbers."""
    found = {}
    for i, (name, part) in enumerate(zip(names, row_PF.split(widths(names), 1), strict=True)):
        if name in WORDS:
            found[name] = F.cross_entropy(part, truth_PX[:, i].long(), reduction="none")
        else:
            found[name] = F.smooth_l1_loss(part[:, 0], truth_PX[:, i], beta=0.1, reduction="none")
    return found


def reader_loss(cells: Tensor, pictures: Tensor, truth: Truth) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and its parts for the log."""
    B, _, h, w = cells.shape
    rows = cells.permute(0, 2, 3, 1).flatten(0, 2)
    here = torch.zeros_like(rows[:, 0]).index_fill(0, truth.where_P, 1)
    # A neighbour of a middle may be taken for it: that costs nothing.
    beside = F.max_pool2d(here.view(B, 1, h, w), 3, 1, 1).flatten()
    loss = F.binary_cross_entropy_with_logits(rows[:, 0], here, reduction="none")
    parts = {"here": (loss * ((here == 1) | (beside == 0))).sum() / len(truth.where_P)}
    turnable = torch.tensor([kind in TURNABLE for kind in WORDS["kind"]], device=rows.device)[
        truth.of_object_PX[:, 0].long()
    ]
    for name, loss in part_losses(rows[truth.where_P, 1:], truth.of_object_PX, OF_OBJECT).items():
        parts[name] = (loss * turnable if name == "turn" else loss).mean()
    for name, loss in part_losses(pictures, truth.of_picture_BX, OF_PICTURE).items():
        parts["main_kind" if name == "kind" else name] = loss.mean()
    return torch.stack([loss * (2 if name in NUMBERS else 1) for name, loss in parts.items()]).sum(), parts


class ReaderTraining(Training):
    def __init__(self, run: Run, engine: Engine, options: Options, recipe: ReaderRecipe, data: Labelled, model: Reader):
        super().__init__(run, engine, options, recipe, {"images": recipe.batch})
        self.data, self.model = data, model.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.door, self.optimizer = engine.prepare(self.model, optimizer)
        self.parts["model"] = Trained(self.door, self.optimizer, engine)
        self.batches = ahead(self.read, recipe.steps)

    def read(self, step: int) -> tuple[Tensor, list[Scene]]:
        rows = batch_indices(len(self.data), self.recipe.batch, step, self.options.seed)
        return self.data.images(rows), [self.data.scene(i) for i in rows.tolist()]

    def step(self, step: int) -> dict[str, float]:
        recipe = self.recipe
        lr = self.set_rate(self.optimizer, warmup_cosine(step, recipe.steps, recipe.warmup))
        img, scenes = self.batches(step)
        device, img = self.engine.device, damage(to_float(img)).to(memory_format=torch.channels_last)
        truth = Truth(*(part.to(device) for part in Truth.of(scenes)))

        def loss_of(img: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            cells, pictures = self.door("forward", img)
            return reader_loss(cells, pictures, truth)

        metrics = self.engine.minimise(self.door, self.optimizer, [(img,)], loss_of, CLIP)
        return metrics | {"lr": lr}

    def validate(self) -> dict[str, Any]:
        test = StillLife("test")
        rows = torch.arange(VALIDATED)
        readings = read(self.model.eval(), test.images(rows))
        self.model.train()
        return {"val_shares": shares_read([test.factors(i) for i in rows.tolist()], readings)}

    def about(self) -> dict[str, Any]:
        return {"kind": "reader", "config": {}}

    def weights(self) -> dict[str, Tensor]:
        return {name: t.half() if t.is_floating_point() else t for name, t in self.model.state_dict().items()}


def train_reader(out: Path, options: Options = Options(), start: str | None = None) -> Path:
    """Train in the folder `out`, in one process; returns the path of the model.

    start: a reader to continue from, by name, folder or file; None starts from random weights.

    2,400 steps take about 20 minutes on a core where the scenes are rendered already, which takes as long again.
    """
    recipe = override(ReaderRecipe(), options)
    engine = Engine(options)
    if engine.processes * engine.accumulate > 1:
        raise ValueError("accumulate: the reader is small enough for one process and whole steps")
    if options.flip:
        raise ValueError(
            "flip: the reader is told where each object lies, and its scenes are not mirrored; leave it out"
        )
    torch.manual_seed(options.seed)
    file = None if start is None else weights_file(start)
    model = Reader() if file is None else load_reader(file)
    head = {"stage": "reader"} | ({} if file is None else {"start": sha256(file)})
    run = Run(
        out, identity(head, recipe, options, "still-life"), command("train-reader", options, start=start, out=out),
        engine.main, file,
    )  # fmt: skip
    if run.finished():
        return run.model_path
    data = Labelled(recipe.held_out, recipe.pale)
    with run:
        if not run.begin({"data_sha256": data.checksum}):
            return run.model_path
        return ReaderTraining(run, engine, options, recipe, data, model).train()
