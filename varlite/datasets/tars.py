"""Tar archives of images as datasets: WebDataset shards, archives of folders, and archives of archives."""

import json
import os
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from varlite.datasets.checksums import digest_of, kept_checksum
from varlite.datasets.encoded import EncodedImages, every_tenth
from varlite.datasets.pixels import POOL, Unreadable
from varlite.datasets.splits import split_files, split_paths
from varlite.datasets.tar_index import TarIndex, read_index
from varlite.io.class_names import natural_key

NAMES = ("classes.txt", "classnames.txt", "class_names.txt", "classes.json")


class Member(NamedTuple):
    """One picture: number of its archive, place in the index of that one, name of its class, what tells it apart."""

    shard: int
    row: int
    name: str
    cls: str
    below: str  # of a folder's checksum: the path below the split


class TarImages(EncodedImages):
    """Images in plain tar archives, read from where they lie: nothing is unpacked.

    With .cls files, as WebDataset has them: a sample is NAME.jpg and NAME.cls, which holds the number of its class or
    its name; names of numbers are taken from classes.txt (a line each) or classes.json beside the archives, and names
    that occur twice, as in ImageNet's, are followed by their number. Images keep the order of the archives. Without
    .cls files: paths CLASS/IMAGE or SPLIT/CLASS/IMAGE, where CLASS may be an archive itself, CLASS.tar, as in
    ImageNet's; order, splits and checksum are those of `ImageFolder` on the unpacked folder.
    Archives whose names say train, val or test are the splits; otherwise every tenth image is for testing.
    Images without a class, and splits that are not used, are left out, which `notes` tell.
    Raises ValueError for archives without images, without classes, or with test classes that training has not.
    """

    def __init__(self, paths: list[Path], split: str, size: tuple[int, int], channels: int, unreadable: float = 0.25):
        root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
        self.paths = paths
        self.indexes: list[TarIndex] = list(POOL.map(read_index, paths))
        if not any(index.names for index in self.indexes):
            raise ValueError(f"data: {_told(paths)} holds no images")
        train, test = split_files(_below(root, path) for path in paths)
        self._without = Counter({"archives of splits that are not used": len(paths) - len(train) - len(test)})
        numbers = {_below(root, path): i for i, path in enumerate(paths)}
        shards = [numbers[name] for name in train], [numbers[name] for name in test]
        if any(index.classes for index in self.indexes):
            members, classes = self._samples(shards, root)
        else:
            members, classes = self._folders(shards)
        found = self._choose(members, split)
        number = {name: i for i, name in enumerate(classes)}
        if strange := sorted({member.cls for member in found} - set(number), key=natural_key):
            raise ValueError(f"data: the test split has classes that training has not: {', '.join(strange[:5])}")
        self.members = found
        self.notes = self._notes()
        names = [f"{paths[member.shard].name}/{member.name}" for member in found]
        super().__init__(root, names, [number[m.cls] for m in found], tuple(classes), split, size, channels, unreadable)

    def _samples(
        self, shards: tuple[list[int], list[int]], root: Path
    ) -> tuple[tuple[list[Member], list[Member] | None], list[str]]:
        """Members by split, and the classes, of samples with .cls files."""
        splits: list[list[Member]] = []
        for numbers in shards:
            found = []
            for shard in numbers:
                index = self.indexes[shard]
                for row, name in enumerate(index.names):
                    if (cls := index.class_of(name)) is not None:
                        found.append(Member(shard, row, name, cls, name))
                self._without["images without a .cls file"] += len(index.names)
            self._without["images without a .cls file"] -= len(found)
            splits.append(found)
        said = {member.cls for members in splits for member in members}
        if not all(cls.isdecimal() for cls in said):
            classes = sorted({member.cls for member in splits[0]}, key=natural_key)
        elif names := class_names([root, *dict.fromkeys(path.parent for path in self.paths)]):
            if (most := max(map(int, said))) >= len(names):
                raise ValueError(f"data: {root} names {len(names)} classes, and a .cls file says {most}")
            names = told_apart(names)
            splits = [[m._replace(cls=names[int(m.cls)]) for m in members] for members in splits]
            classes = names
        else:
            splits = [[m._replace(cls=str(int(m.cls))) for m in members] for members in splits]
            classes = sorted({m.cls for m in splits[0]}, key=int)
        return (splits[0], splits[1] if shards[1] else None), classes

    def _folders(
        self, shards: tuple[list[int], list[int]]
    ) -> tuple[tuple[list[Member], list[Member] | None], list[str]]:
        """Members by split, and the classes, of paths CLASS/IMAGE, in the order of folders."""
        train = self._all(shards[0])
        place, test_place = split_paths([name for _, _, name in train])
        # What a folder's checksum says of an image is its path from there on.
        start = len(test_place or place)
        if shards[1]:
            test = self._all(shards[1])
            test_place = split_paths([name for _, _, name in test])[0]
        else:
            test = train
        parts = [_in_classes(train, place, start), None if test_place is None else _in_classes(test, test_place, start)]
        others = len(train) + (len(test) if shards[1] else 0) - sum(len(part or ()) for part in parts)
        self._without["images in no class, or in a split that is not used"] = others
        if not parts[0]:
            raise ValueError(
                f"data: the images in {_told(self.paths)} are in no class: with each a file of its name that ends in "
                ".cls is needed, or a folder for each class"
            )
        return (parts[0], parts[1]), sorted({member.cls for member in parts[0]}, key=natural_key)

    def _all(self, shards: list[int]) -> list[tuple[int, int, str]]:
        return [(shard, row, name) for shard in shards for row, name in enumerate(self.indexes[shard].names)]

    @staticmethod
    def _choose(members: tuple[list[Member], list[Member] | None], split: str) -> list[Member]:
        train, test = members
        if test is not None:
            return test if split == "test" else train
        number = {name: i for i, name in enumerate(dict.fromkeys(m.cls for m in train))}
        tenth = every_tenth(np.array([number[m.cls] for m in train], np.int64))
        return [m for m, chosen in zip(train, tenth, strict=True) if chosen == (split == "test")]

    def _notes(self) -> tuple[str, ...]:
        others = +self._without
        for index in self.indexes:
            others.update(index.left_out)
        listed = ", ".join(f"{n:,} {what}" for what, n in others.most_common(8))
        return (f"left out: {listed}",) if listed else ()

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of each image's class, path and content; without .cls files that of the unpacked folder."""
        labels = [f"{member.cls}/{member.below}" for member in self.members]
        files = [_below(self.root, path) for path in self.paths]
        return kept_checksum(self.root, files, self.names, labels, lambda: POOL.map(self._digest, range(len(labels))))

    def _digest(self, i: int) -> str:
        return digest_of(self.content(i))

    def content(self, i: int) -> bytes:
        member = self.members[i]
        index, path = self.indexes[member.shard], self.paths[member.shard]
        size = index.sizes[member.row]
        with open(path, "rb") as file:  # opened each time: any thread and any forked process may read
            file.seek(index.starts[member.row])
            content = file.read(size)
        if len(content) < size:
            raise Unreadable(self.names[i], "the archive is cut off")
        return content


def class_names(folders: list[Path]) -> list[str]:
    """The names of classes in the first file of NAMES in the folders; [] where there is none."""
    for folder in folders:
        for path in (folder / name for name in NAMES):
            if not path.is_file():
                continue
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".txt":
                return [line.strip() for line in text.splitlines() if line.strip()]
            try:
                found = json.loads(text)
            except ValueError as error:
                raise ValueError(f"data: {path} is not valid JSON ({error})") from None
            if isinstance(found, dict):
                found = [found[key] for key in sorted(found, key=natural_key)]
            if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
                raise ValueError(f"data: {path} must be a list of names, or an object from numbers to names")
            return found
    return []


def told_apart(names: list[str]) -> list[str]:
    """The same names; those that occur more than once each with its number."""
    times = Counter(names)
    return [f"{name} ({i})" if times[name] > 1 else name for i, name in enumerate(names)]


def _in_classes(members: list[tuple[int, int, str]], place: str, start: int) -> list[Member]:
    """Those of `place` that are in a class, class after class in natural order, then by folder and name."""
    found = []
    for shard, row, name in members:
        inner = name[len(place) :]
        if name.startswith(place) and "/" in inner:
            found.append(Member(shard, row, name, inner.partition("/")[0], name[start:]))
    return sorted(found, key=lambda m: (natural_key(m.cls), *os.path.split(m.name)))


def _below(root: Path, path: Path) -> str:
    return path.absolute().relative_to(root).as_posix()


def _told(paths: list[Path]) -> str:
    return str(paths[0]) + (f" and {len(paths) - 1:,} more" if len(paths) > 1 else "")
