"""What `varlite fit` does with someone's pictures: looked at, timed on this machine, and laid down as a plan."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.checkpoints.load import load_tokenizer
from varlite.datasets import DATASETS, Dataset, open_dataset
from varlite.datasets.folders import ImageFolder, images_in
from varlite.datasets.layout import has_pictures, sub_folders
from varlite.datasets.listed import ListedImages
from varlite.datasets.pixels import to_float
from varlite.datasets.survey import FEW, LOPSIDED, SMALL, Looks, look_at
from varlite.evaluation.validation import validate_tokenizer
from varlite.io.files import atomic
from varlite.io.places import CHECKPOINTS, expand_home
from varlite.presets import MODELS, TOKENIZERS
from varlite.tokenizer import TokenizerConfig
from varlite.training.fit_timing import ENOUGH, HELD_OUT, PASSES, share_out, time_steps
from varlite.training.options import Options

LEAST = 20  # pictures
GOOD_ENOUGH = 0.04  # of the variance of pixels, lost by a tokenizer whose tokens then stay as they are
TO_TRAIN = 0.85  # of the time; the rest is for samples and scores
# The tokenizers that a fit may start from, the most fitting first, and the transformer of each.
NEAREST = {"fashion-vq": "fashion-var-d4", "still-vq": "still-var-d6"}
# By channels, the shape and recipe of a transformer that starts from nothing and has little time: in colour one with a
# third of the parameters of still-var-d6, which is slow to learn where its own weights are of no use.
SMALL_MODEL = {1: "fashion-var-d4", 3: "emoji-var-d4"}
# Strides, and the sides of latents that go with each.
STRIDES = {4: range(4, 13), 8: range(4, 13), 16: range(4, 17)}


@dataclass(frozen=True)
class Plan:
    """Everything that decides a fit; OUT/plan.json holds it, so that the same command goes on with the same plan."""

    data: str  # as it was named
    used: str  # what the trainings read: the same, or a list in OUT
    size: int
    channels: int
    minutes: float
    flip: bool
    seed: int
    pictures: int  # that were found; those used are to train on and held out
    train: int
    test: int
    classes: list
    way: str  # decoder, continued or new
    tokenizer: str  # that it starts from, or whose recipe it has
    shape: dict  # the tokenizer's configuration
    lost: float  # of the variance of pixels, by the tokenizer that it starts from; 1 without one
    model: str  # the preset whose shape and recipe the transformer has
    start: str  # the transformer that is trained further; "" is none
    tokenizer_steps: int
    tokenizer_batch: int
    model_steps: int
    model_batch: int
    views: int
    seconds: list  # estimated: tokenizer, transformer with its tokens, pictures and scores
    notes: list

    def lines(self, out: Path) -> list[str]:
        """What will be done, and how long it takes here."""
        kind = "grey" if self.channels == 1 else "colour"
        named = ", ".join(self.classes[:8]) + (f" and {len(self.classes) - 8:,} more" if self.classes[8:] else "")
        of_classes = f"{len(self.classes):,} classes ({named})" if len(self.classes) > 1 else f"one class, {named}"
        lines = [
            f"{self.data}: {self.pictures:,} pictures in {of_classes}, learned in {kind} at {self.size} x {self.size}",
            f"held out: {self.test:,} pictures, which no training sees; to train on: {self.train:,}",
        ]
        if self.train + self.test < self.pictures:
            lines.append(f"no more than these, drawn at random: {self.minutes:g} minutes here have no time for others")
        lines += [f"note: {note}" for note in self.notes]
        keeps = f"loses {100 * self.lost:.0f} % of the variance of these pictures"
        how = {
            "decoder": f"{self.tokenizer}, which ships and {keeps}: its tokens stay, its decoder is trained further",
            "continued": f"{self.tokenizer}, which ships" + f" and {keeps}" * (self.lost < 1) + ", is trained further",
            "new": "none that ships is near, so a small one is trained from nothing",
        }[self.way]
        depth = MODELS[self.model].config.depth
        begun = f"{self.start}, which ships, is trained further" if self.start else f"{depth} blocks, from nothing"
        times = [f"about {told(seconds)}" for seconds in self.seconds]
        return [
            *lines,
            f"1. tokenizer: {how}: {self.tokenizer_steps:,} steps of {self.tokenizer_batch} pictures, {times[0]}",
            f"2. transformer: {begun}: {self.model_steps:,} steps of {self.model_batch}, {times[1]}",
            f"3. pictures and scores: {times[2]}",
            f"everything lies in {out}; stopped at any time, the same command goes on",
        ]


def told(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(1, seconds):.0f} s"


def make_plan(
    data: str, out: Path, size: int | None, minutes: float, options: Options, say: Callable[[str], None] = print
) -> Plan:
    """Look at the pictures, time some steps, and decide. Writes nothing but, where one is needed, OUT/pictures.csv.

    Raises ValueError for too few pictures and for a size that no tokenizer takes, and as `open_dataset` does.
    """
    began = time.monotonic()
    choose_tokenizer(size, 3)  # of an impossible size nothing should be left behind
    used = listed_if_flat(data, out)
    train, test = (open_dataset(used, split, (8, 8), 3) for split in ("train", "test"))
    found = len(train.labels) + len(test.labels)
    check_count(data, found)
    looks = look_at(train)
    grey = looks.grey == looks.opened if looks.opened else used == "fashion"
    channels = 1 if grey else 3
    name, config, ships = choose_tokenizer(size, channels)
    side = side_of(config)
    readers = [open_dataset(used, split, (side, side), channels) for split in ("train", "test")]
    as_it_ships = ships and config == TOKENIZERS[name].config
    missing = lost(name, readers[1]) if as_it_ships else 1.0
    way = "decoder" if missing <= GOOD_ENOUGH else "continued" if ships else "new"
    # Also where the tokenizer moves on, a transformer of its tokens is a better beginning than none. Measured from the
    # models of emoji, which do not ship: after 44 steps on 270 pictures of still life, a test loss of 5.13, not 5.78.
    start = NEAREST[name] if as_it_ships and shipped_here(NEAREST[name]) else ""
    large = ships and (torch.cuda.is_available() or minutes > 90)
    model = start or (NEAREST[name] if large else SMALL_MODEL[channels])
    say(f"{data}: {found:,} pictures; some steps are timed on this machine")
    timed = time_steps(config, way, name, model, readers[0], options)
    left = max(0.5 * 60 * minutes, 60 * minutes - (time.monotonic() - began)) * TO_TRAIN
    exact = set(looks.sizes) == {(side, side)}
    shared = share_out(timed, left, way, len(train.labels), len(test.labels), exact)
    if shared.seen and isinstance(train, ImageFolder | ListedImages):
        used = write_part(out, readers, shared.seen, options.seed)
        readers = [open_dataset(used, split, (side, side), channels) for split in ("train", "test")]
    counts = np.bincount(train.labels.numpy(), minlength=len(train.classes))
    notes = remarks(looks, counts, train.classes)
    if (shared.model_steps + 1) * shared.model_batch > PASSES * len(train.labels):
        notes.append(
            f"the transformer sees each picture {PASSES} times and not more, or it would learn them by heart: minutes "
            "may be left over"
        )
    elif min(shared.tokenizer_steps, shared.model_steps) < ENOUGH:
        notes.append(
            f"few steps fit into {minutes:g} minutes here: pictures will be rough; more minutes make them better"
        )
    return Plan(
        data, used, side, channels, float(minutes), options.flip, options.seed, found, len(readers[0].labels),
        len(readers[1].labels), list(train.classes), way, name, asdict(config), round(missing, 4), model, start,
        *shared[:4], 0 if shared.seen and used == data else shared.views, shared.seconds, notes,
    )  # fmt: skip


def remarks(looks: Looks, counts: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """What may make the result worse than one hopes."""
    notes, total = [], int(counts.sum())
    if total < SMALL:
        notes.append(f"{total:,} pictures to train on are few: a model learns them by heart; 1,000 and more are better")
    if (few := int((counts < FEW).sum())) and len(counts) > 1:
        notes.append(f"{few:,} of {len(counts):,} classes have fewer than {FEW} pictures to train on")
    if counts.max() > LOPSIDED * max(1, counts.min()):
        least, most = int(counts.argmin()), int(counts.argmax())
        notes.append(f"lopsided: {counts[most]:,} pictures of {classes[most]}, {counts[least]:,} of {classes[least]}")
    if looks.unreadable:
        notes.append(f"{len(looks.unreadable)} of {looks.opened + len(looks.unreadable)} opened cannot be read")
    return notes


# Which pictures


def check_count(data: str, found: int) -> None:
    """Raises ValueError for too few pictures."""
    if found < LEAST:
        raise ValueError(f"data: {data} has {found} pictures, too few to learn from: at least {LEAST} are needed")


def listed_if_flat(data: str, out: Path) -> str:
    """`data`, or for a folder of pictures without classes a list of them in OUT, all of one class."""
    folder = expand_home(data) if data not in DATASETS else None
    if folder is None or not folder.is_dir() or not has_pictures(folder) or sub_folders(folder):
        return data
    folder = folder.absolute()
    names = images_in(folder)
    check_count(data, len(names))
    rows = [(folder / name, folder.name, "train" if i % 10 else "val") for i, name in enumerate(names)]
    return write_list(out / "pictures.csv", rows)


def write_part(out: Path, readers: list[Any], seen: int, seed: int) -> str:
    """A list in OUT of as many pictures as there is time to look at, drawn at random, and of some that are held out."""
    rows = []
    for word, reader, most in zip(("train", "val"), readers, (seen, HELD_OUT), strict=True):
        order = torch.randperm(len(reader.names), generator=torch.Generator().manual_seed(seed % 2**63))
        first = np.unique(reader.labels.numpy()[order.numpy()], return_index=True)[1]  # one of each class at least
        chosen = sorted({*order[:most].tolist(), *order[torch.from_numpy(first)].tolist()})
        root = Path(reader.root).absolute()
        rows += [(root / reader.names[i], reader.classes[int(reader.labels[i])], word) for i in chosen]
    return write_list(out / "pictures.csv", rows)


def write_list(path: Path, rows: list[tuple[Path, str, str]]) -> str:
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return str(path)


# Which models


def shipped_here(name: str) -> bool:
    return (CHECKPOINTS / name / "model.safetensors").exists()


def side_of(config: TokenizerConfig) -> int:
    """Height and width, in pixels, of the pictures that a tokenizer of this configuration takes."""
    return int(config.scales[-1]) * stride_of(config)


def stride_of(config: TokenizerConfig) -> int:
    return 2 ** (len(config.multipliers) - 1)


def choose_tokenizer(size: int | None, channels: int) -> tuple[str, TokenizerConfig, bool]:
    """(preset, configuration for pictures of `size`, whether it ships and is trained further) of the nearest tokenizer.

    That is one of this size, else one whose stride suits it, else a new one. No size is that of the first that ships.
    Raises ValueError for a size that no stride suits.
    """
    near = [name for name in NEAREST if TOKENIZERS[name].config.channels == channels and shipped_here(name)]
    size = size or (side_of(TOKENIZERS[near[0]].config) if near else 32)
    for name in near:
        if side_of(TOKENIZERS[name].config) == size:
            return name, TOKENIZERS[name].config, True
    for name in near:
        config = TOKENIZERS[name].config
        if size % stride_of(config) == 0 and size // stride_of(config) in STRIDES[stride_of(config)]:
            return name, replace(config, scales=sides_up_to(size // stride_of(config))), True
    for stride, sides in STRIDES.items():
        if size % stride == 0 and size // stride in sides:
            return "still-vq", new_config(channels, stride, size // stride), False
    raise ValueError(f"size must be a multiple of 4 from 16 to 48, of 8 to 96, or of 16 to 256, got {size}")


def new_config(channels: int, stride: int, side: int) -> TokenizerConfig:
    """A small tokenizer: one block a level and two at the next to lowest of the decoder, as the ones that ship."""
    half = int(math.log2(stride)) - 1
    return replace(
        TOKENIZERS["emoji-vq"].config, channels=channels, scales=sides_up_to(side), multipliers=(1,) * half + (2, 4),
        encoder_blocks=(0,) + (1,) * (half + 1), decoder_blocks=(0,) + (1,) * (half - 1) + (2, 1),
    )  # fmt: skip


def sides_up_to(side: int) -> list[int]:
    """Sides of token maps, each larger than the last by about the same factor."""
    steps = 5 if side <= 10 else 6
    return sorted({round(side ** (i / steps)) for i in range(steps + 1)} | {2, 3})


@torch.no_grad()
def lost(name: str, test: Dataset) -> float:
    """Share of the variance of pixels that a tokenizer loses, on at most 100 held-out pictures."""
    img = test.images(torch.linspace(0, len(test.labels) - 1, min(100, len(test.labels))).long())
    error = validate_tokenizer(load_tokenizer(name), [img])["val_mse"]
    return min(1.0, error / max(to_float(img).var().item(), 1e-6))
