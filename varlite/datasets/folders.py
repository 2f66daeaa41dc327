"""Folders of images as datasets."""

from functools import cached_property
from pathlib import Path

import numpy as np

from varlite.datasets.checksums import content_checksum
from varlite.datasets.encoded import ImageFiles, every_tenth
from varlite.datasets.layout import Layout, LeftOut, Pictures, find_layout, sub_folders
from varlite.datasets.pixels import SUFFIXES
from varlite.io.places import expand_home


class ImageFolder(ImageFiles):
    """One's own images, a sub-folder for each class (the layout of ImageNet).

    Sub-folders such as `train` and `val` or `test` are the splits; otherwise every tenth image is the test split, but
    for classes that would be left without an image to train on. `layout` and `left_out` tell what was understood.
    Images are resized and cropped as by VAR's training code, but for two things that `as_published` takes back: those
    of the size wanted are left as they are, and a large JPEG is decoded at a fraction (`varlite.datasets.pixels`).
    Raises FileNotFoundError if the folder does not exist, ValueError if it holds no classes or no images.
    """

    def __init__(self, root: str | Path, split: str, size: tuple[int, int], channels: int, unreadable: float = 0.25):
        place = expand_home(root)
        self.layout = find_layout(place)
        names, labels, self.left_out = list_split(self.layout, split)
        self.notes = (*self.layout.notes, *(f"left out: {line}" for line in self.left_out.lines()))
        super().__init__(place, names, labels, self.layout.classes, split, size, channels, unreadable)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the names of the classes, and of each image's class, path below it and content."""
        below = (self.layout.test or self.layout.train).relative_to(self.root).as_posix()
        start = 0 if below == "." else len(below) + 1
        labels = [
            f"{self.classes[label]}/{name[start:]}" for label, name in zip(self._own_labels, self.names, strict=True)
        ]
        return content_checksum(self.root, self.names, labels)


def list_split(layout: Layout, split: str) -> tuple[list[str], list[int], LeftOut]:
    """(paths below the root, class numbers, what was left out) of "train" or "test".

    Raises ValueError for a class without images to train on, and for test classes that training does not have.
    """
    place = layout.test if split == "test" and layout.test else layout.train
    have = sub_folders(place)
    if strange := [name for name in have if name not in layout.classes]:
        raise ValueError(f"data: {place} has classes that {layout.train} has not: {', '.join(strange[:5])}")
    folders = [name for name in layout.classes if name in set(have)]
    pictures = Pictures(place, folders)
    found = dict(zip(folders, pictures.names, strict=True))
    left_out, labels, names = pictures.left_out, [], []
    prefix = "" if place == layout.root else place.relative_to(layout.root).as_posix() + "/"
    for label, name in enumerate(layout.classes):
        if not found.get(name) and place == layout.train:
            why = "; ".join(left_out.lines())
            raise ValueError(
                f"data: {place / name} holds no images ({', '.join(SUFFIXES)})" + (f"; left out: {why}" if why else "")
            )
        names += [prefix + picture for picture in found.get(name, [])]
        labels += [label] * len(found.get(name, []))
    if layout.test is None:
        tenth = every_tenth(np.array(labels))
        (keep,) = np.nonzero(tenth if split == "test" else ~tenth)
        names, labels = [names[i] for i in keep], [labels[i] for i in keep]
    return names, labels, left_out


def images_in(folder: Path) -> list[str]:
    """Paths below a folder of the images in it, however deep, in an order that names alone decide."""
    return Pictures(folder, [""]).names[0]
