"""What a folder of images is understood as, before anything is trained on it: `print(survey("photos"))`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ImageFilter

from varlite.datasets import DATASETS, Dataset, open_dataset
from varlite.datasets.encoded import EncodedImages
from varlite.datasets.folders import list_split
from varlite.datasets.layout import LeftOut, find_layout, shortened, sub_folders
from varlite.datasets.npz import NpzImages
from varlite.datasets.pixels import POOL, Unreadable, convert, open_picture
from varlite.datasets.sources import image_folder
from varlite.io.places import expand_home

SAMPLE = 100  # images that are opened, evenly spread
SHOWN = 30  # classes
FEW, LOPSIDED, SMALL = 10, 20, 200


@dataclass(frozen=True)
class SplitSurvey:
    """One split: where it lies, and how many images there are of each class."""

    folder: Path
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Looks:
    """What a sample of the images looks like."""

    opened: int
    grey: int
    sizes: Counter[tuple[int, int]]  # (height, width)
    scaled: dict[str, str]  # path -> how its numbers, of more than 8 bits, were taken
    unreadable: dict[str, str]

    def lines(self) -> list[str]:
        """In words."""
        bad = f"{len(self.unreadable)} of {self.opened + len(self.unreadable)} opened cannot be read"
        examples = "; ".join(f"{name} ({reason})" for name, reason in list(self.unreadable.items())[:3])
        lines = [f"{bad}: {examples}"] * bool(self.unreadable)
        if self.opened:
            colour = self.opened - self.grey
            kind = "colour" if not self.grey else "grey" if not colour else f"{self.grey} grey, {colour} in colour"
            (h, w), n = self.sizes.most_common(1)[0]
            sizes = f"all {h} x {w}" if len(self.sizes) == 1 else f"{h} x {w} most often ({n}), " + _range(self.sizes)
            lines.append(f"of {self.opened} opened (height x width): {kind}; {sizes}")
        lines += [f"{name}: {how}" for name, how in list(self.scaled.items())[:3]]
        return lines


@dataclass(frozen=True)
class Survey:
    """What was understood of a folder. As text, a report of some lines."""

    root: Path
    train: SplitSurvey
    test: SplitSurvey
    notes: tuple[str, ...]
    left_out: dict[str, LeftOut]  # by folder
    looks: Looks

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.train.counts)

    def warnings(self) -> list[str]:
        """What may be meant otherwise, or will train badly."""
        counts, warnings = self.train.counts, []
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if len(counts) == 1:
            warnings.append(f"there is only one class, {least}: a model learns nothing from its label")
        if few := [name for name, n in counts.items() if n < FEW]:
            found = f"{len(few):,} of {len(counts):,} classes have" if len(few) > 1 else f"{few[0]} has"
            warnings.append(f"{found} fewer than {FEW} images to train on" + (f": {shortened(few)}" if few[1:] else ""))
        if counts[most] > LOPSIDED * counts[least]:
            warnings.append(f"lopsided: {counts[most]:,} images of {most}, {counts[least]:,} of {least}")
        if self.train.total < SMALL:
            warnings.append(f"{self.train.total:,} images are few: a model will learn them by heart")
        if self.test.total and (unseen := [name for name, n in self.test.counts.items() if not n]):
            warnings.append(f"no test images of {len(unseen):,} classes: {shortened(unseen)}")
        if not self.test.total:
            warnings.append("there are no test images")
        return warnings + self._nested()

    def _nested(self) -> list[str]:
        """Classes that look like a level of something else: splits within classes, or a second copy of the data."""
        inner = {name: set(sub_folders(self.train.folder / name)) for name in self.classes}
        splits = [name for name, found in inner.items() if {"train", "test"} <= {n.lower() for n in found}]
        copies = [name for name, found in inner.items() if len(found) > 1 and found <= set(self.classes)]
        return [f"train and test folders within {shortened(splits)} were not taken as splits"] * bool(splits) + [
            f"{name} holds folders called like other classes: a second copy of the data?" for name in copies
        ]

    def __str__(self) -> str:
        lines = [f"{self.root}: {_plural(len(self.classes), 'class', 'classes')}"]
        for name, split in (("train", self.train), ("test", self.test)):
            where = "every tenth image of it" if name == "test" and split.folder == self.train.folder else split.folder
            lines.append(f"  {name}: {_plural(split.total, 'image', 'images')} ({where})")
        for i, (name, n) in list(enumerate(self.train.counts.items()))[:SHOWN]:
            lines.append(
                f"    {i:>4} {shortened([name])}: {n:,} to train on, {self.test.counts.get(name, 0):,} to test"
            )
        if len(self.classes) > SHOWN:
            lines.append(f"    and {len(self.classes) - SHOWN:,} more classes, to {self.classes[-1]}")
        lines += [f"  understood: {note}" for note in self.notes]
        for place, left_out in self.left_out.items():
            lines += [f"  left out of {place}: {line}" for line in left_out.lines()]
        lines += [f"  {line}" for line in self.looks.lines()]
        return "\n".join(lines + [f"  note: {line}" for line in self.warnings()])


def survey(folder: str | Path) -> Survey:
    """Look at a folder as `--data` would, and at a sample of its images.

    Raises FileNotFoundError if there is none, and ValueError as `ImageFolder` does.
    """
    root = expand_home(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"data: {folder} is not a folder")
    layout = find_layout(root)
    splits: list[SplitSurvey] = []
    left_out: dict[str, LeftOut] = {}
    names: list[str] = []
    for split in ("train", "test"):
        place = layout.test if split == "test" and layout.test else layout.train
        found, labels, left_out[place.as_posix()] = list_split(layout, split)
        counts = np.bincount(np.array(labels, int), minlength=len(layout.classes)).tolist()
        splits.append(SplitSurvey(place, dict(zip(layout.classes, counts, strict=True))))
        names += found
    return Survey(root, splits[0], splits[1], layout.notes, left_out, look(root, names))


def look(root: Path, names: list[str]) -> Looks:
    """Open a sample of the images."""
    return _looks(names, lambda i: _look_at(f"{root}/{names[i]}"))


def look_at(dataset: Dataset) -> Looks:
    """The same for a dataset, whatever it is read from."""
    if isinstance(dataset, EncodedImages):
        names, content = dataset.names, dataset.content
        return _looks(names, lambda i: _look_at(names[i], lambda: content(i)))
    if isinstance(dataset, NpzImages):
        img = dataset.all_images[torch.linspace(0, len(dataset.labels) - 1, SAMPLE).long().unique()].int()
        grey = int((img.amax(1) - img.amin(1)).flatten(1).amax(1).le(8).sum())
        return Looks(len(img), grey, Counter({(img.shape[2], img.shape[3]): len(img)}), {}, {})
    return Looks(0, 0, Counter(), {}, {})


def _looks(names: list[str], look_at_one: Callable[[int], "tuple[tuple[int, int], bool, str | None] | str"]) -> Looks:
    chosen = np.unique(np.linspace(0, len(names) - 1, min(SAMPLE, len(names))).astype(int)).tolist()
    looks = Looks(0, 0, Counter(), {}, {})
    opened = grey = 0
    for i, found in zip(chosen, POOL.map(look_at_one, chosen), strict=True):
        if isinstance(found, str):
            looks.unreadable[names[i]] = found
            continue
        size, is_grey, scaled = found
        opened, grey = opened + 1, grey + is_grey
        looks.sizes[size] += 1
        if scaled:
            looks.scaled[names[i]] = scaled
    return Looks(opened, grey, looks.sizes, looks.scaled, looks.unreadable)


def _look_at(path: str, content: Callable[[], bytes] | None = None) -> tuple[tuple[int, int], bool, str | None] | str:
    """((height, width), whether it is grey, how its numbers were taken); the reason if it cannot be read."""
    try:
        with open_picture(path, None if content is None else content()) as file:
            w, h = file.size
            file.draft(None, (64, 64))
            image = convert(file, 3)
            small = image.reduce(max(1, min(image.size) // 32)).filter(ImageFilter.BoxBlur(1))
            channels = np.asarray(small).astype(int)
            return (h, w), bool(np.ptp(channels, axis=-1).max() <= 8), image.info.get("scaled")
    except Unreadable as error:
        return error.reason
    except OSError as error:
        return error.strerror or str(error)


def report(data: str | Path) -> str:
    """What `varlite data` prints: the survey of a folder, or what there is in any other source."""
    name = str(data)
    if name not in DATASETS and image_folder(name) is not None:
        return str(survey(name))
    lines, looks, notes = [name], Looks(0, 0, Counter(), {}, {}), ()  # type: list[str], Looks, tuple[str, ...]
    for split in ("train", "test"):
        dataset = DATASETS[name](split) if name in DATASETS else open_dataset(name, split, (64, 64), 3)
        counts = np.bincount(dataset.labels.numpy(), minlength=len(dataset.classes)).tolist()
        classes = [f"{name} {n:,}" for name, n in zip(dataset.classes, counts, strict=True)]
        lines.append(f"  {split}: {len(dataset.labels):,} images ({', '.join(classes[:SHOWN])})")
        if len(classes) > SHOWN:
            lines[-1] = f"{lines[-1][:-1]} and {len(classes) - SHOWN:,} more classes)"
        if split == "train":
            looks, notes = look_at(dataset), getattr(dataset, "notes", ())
    return "\n".join(lines + [f"  {line}" for line in (*notes, *looks.lines())])


def first_lines(dataset: EncodedImages) -> list[str]:
    """What a training says before it starts about the images that it was given: counts, and what was left out."""
    counts = np.bincount(dataset.labels.numpy(), minlength=len(dataset.classes)).tolist()
    classes = [f"{name} {n:,}" for name, n in zip(dataset.classes, counts, strict=True)]
    lines = [f"{dataset.root}: {len(dataset.names):,} images in {len(classes):,} classes ({shortened(classes, 10)})"]
    lines += dataset.notes
    if max(counts) > LOPSIDED * min(counts) or min(counts) < FEW:
        lines.append(f"the smallest class has {min(counts):,} images, the largest {max(counts):,}")
    return lines


def _range(sizes: Counter[tuple[int, int]]) -> str:
    smallest, largest = (choose(sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
    return f"from {smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]}"


def _plural(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}"
