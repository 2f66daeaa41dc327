"""What people's folders mean: which are splits and classes, which files are pictures, and what is left out."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from varlite.datasets.pixels import SUFFIXES
from varlite.io.class_names import natural_key

TRAIN = re.compile(r"(seg[_ -]?)?(train|training)([_ -]?(set|split|data|images))?")
# The first of these that is there holds the test images.
TEST = tuple(
    re.compile(rf"(seg[_ -]?)?({word})([_ -]?(set|split|data|images))?")
    for word in ("val|valid|validation", "test|testing")
)
# Folders that systems and programs put beside pictures, in lower case; hidden ones are left out anyway.
SYSTEM = {
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler", "__macosx",
    "__pycache__", "lost+found", "system volume information", "thumbnails", "found.000", "ipynb_checkpoints",
}  # fmt: skip
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
PARENT, TWICE = "leads back to a parent folder", "leads to what is in the data set already"


@dataclass
class LeftOut:
    """What is in a folder and not in the data set. Paths are below the data set's root."""

    suffixes: Counter[str] = field(default_factory=Counter)  # files of kinds that are not read
    hidden: int = 0  # hidden and system files
    folders: list[str] = field(default_factory=list)  # hidden, system and trash folders
    links: dict[str, str] = field(default_factory=dict)  # link -> why
    special: list[str] = field(default_factory=list)  # pipes, sockets, devices
    no_class: int = 0  # pictures beside the folders of the classes

    def lines(self) -> list[str]:
        """In words, a line for each kind."""
        lines = []
        if self.suffixes:
            kinds = ", ".join(f"{n:,} {suffix or 'without a suffix'}" for suffix, n in self.suffixes.most_common(8))
            lines.append(f"files of kinds that are not read: {kinds}{', ...' * (len(self.suffixes) > 8)}")
        if self.no_class:
            lines.append(f"pictures in no class, beside the folders of the classes: {self.no_class:,}")
        if self.folders:
            lines.append(f"hidden, system and trash folders: {shortened(self.folders)}")
        for why in sorted(set(self.links.values())):
            found = [link for link, reason in self.links.items() if reason == why]
            lines.append(
                f"{len(found):,} {'link that' if len(found) == 1 else 'links of which each'} {why}: {shortened(found)}"
            )
        if self.special:
            lines.append(f"pipes, sockets and devices: {shortened(self.special)}")
        if self.hidden:
            lines.append(f"hidden and system files: {self.hidden:,}")
        return lines


@dataclass(frozen=True)
class Layout:
    """Folders of a data set. `test` is None where test images are to be taken from those for training."""

    root: Path
    train: Path
    test: Path | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]  # what was understood that is not obvious


def find_layout(root: Path) -> Layout:
    """The splits and classes in `root`, or in the only folder in it, where an archive was unpacked into its own name.

    Raises ValueError where there are no classes, or where it is not clear what is meant.
    """
    notes: list[str] = []
    place = _unwrapped(root, notes)
    train, test = _splits(place, notes)
    if train is not None and train != place:
        train = _unwrapped(train, notes, in_split=True)
    train = train or place
    if not (classes := sub_folders(train)):
        loose = sum(entry.name.lower().endswith(SUFFIXES) for entry in os.scandir(train))
        hint = f"; the {loose:,} pictures in it are in no class" if loose else ""
        raise ValueError(f"data: {train} must hold one sub-folder of images for each class{hint}")
    if test is not None and not set(sub_folders(test)) & set(classes):
        test = _unwrapped(test, notes, in_split=True)
    if test is not None and not sub_folders(test) and has_pictures(test):
        notes.append(
            f"{test.relative_to(root)} has pictures but no classes: every tenth of the training pictures is for testing"
        )
        test = None
    return Layout(root, train, test, tuple(classes), tuple(notes))


def sub_folders(folder: Path) -> list[str]:
    """Names in natural order, without hidden and system folders and links to parents."""
    parent = os.path.realpath(folder)
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_system(entry.name)]
    links = {name for name in names if os.path.islink(folder / name)}
    return sorted(
        (n for n in names if n not in links or not _leads_up(os.path.realpath(folder / n), parent)), key=natural_key
    )


def is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def has_pictures(folder: Path) -> bool:
    """Whether there are any in the folder itself."""
    return any(e.name.lower().endswith(SUFFIXES) and not e.name.startswith(".") for e in os.scandir(folder))


def _leads_up(target: str, parent: str) -> bool:
    return target == parent or parent.startswith(target.rstrip(os.sep) + os.sep)


def _unwrapped(folder: Path, notes: list[str], in_split: bool = False) -> Path:
    """Where a folder holds nothing but one folder, and so on, that which holds several: an archive unpacked twice."""
    inner = folder
    while (
        len(names := sub_folders(inner)) == 1
        and not has_pictures(inner)
        and (in_split or not TRAIN.fullmatch(names[0].lower()))
    ):
        inner = inner / names[0]
    splits = any(TRAIN.fullmatch(name.lower()) for name in names)
    if inner == folder or has_pictures(inner) or not (len(names) > 1 or splits):
        return folder
    notes.append(f"{folder} holds only one folder, so classes were looked for in {inner}")
    return inner


def _splits(place: Path, notes: list[str]) -> tuple[Path | None, Path | None]:
    names = sub_folders(place)
    trains = [name for name in names if TRAIN.fullmatch(name.lower())]
    tests = [name for pattern in TEST for name in names if pattern.fullmatch(name.lower())]
    others = [name for name in names if name not in trains + tests]
    if len(trains) > 1 and not others:
        raise ValueError(f"data: {place} has several folders for training, {' and '.join(trains)}: leave one")
    if len(trains) != 1:
        return None, None
    train = place / trains[0]
    if others and (has_pictures(train) or not sub_folders(train)):
        return None, None  # a class of trains
    filled = [name for name in tests if sub_folders(place / name)] or tests
    first = next((name for pattern in TEST for name in filled if pattern.fullmatch(name.lower())), None)
    if len([name for name in filled if name.lower() == (first or "").lower()]) > 1:
        raise ValueError(f"data: {place} has several folders for testing, {' and '.join(filled)}: leave one")
    for name in tests:
        if name != first:
            notes.append(f"{name} is not used: test pictures come from {first}")
    if others:
        notes.append(f"neither a split nor used: {shortened(others)}, beside {trains[0]}")
    return train, None if first is None else place / first


def shortened(names: list[str], shown: int = 5) -> str:
    """The first of the names, printable."""
    printable = [os.fsencode(name).decode(errors="replace") for name in names[:shown]]
    return ", ".join(printable) + (f" and {len(names) - shown:,} more" if len(names) > shown else "")


class Pictures:
    """The pictures in some folders of `root`, each real file once, and what was `left_out`.

    folders: paths below `root`, of one class each. `names[i]` lists the pictures of folder i, as paths below `root`, in
    an order that names alone decide. Real files come first; links to them, or to a parent folder, are left out.
    """

    def __init__(self, root: Path, folders: list[str]):
        self.root, self.left_out = root, LeftOut()
        self._parent_of_all = os.path.realpath(root)
        self._walked: set[str] = set()  # real paths of folders
        self._files: list[dict[str, tuple[str, list[str]]]] = [{} for _ in folders]  # path -> real path, files
        self._links: list[tuple[int, str, str]] = []
        self._real_folders: dict[str, str] = {}
        if folders != [""]:
            self._look_beside(folders)
        for i, folder in enumerate(folders):
            place = os.path.join(self._parent_of_all, *folder.split("/")) if folder else self._parent_of_all
            if os.path.islink(place):
                self._links.append((i, folder, os.path.dirname(place)))
            else:
                self._walk(i, folder, os.path.realpath(place))
        self._follow_links()
        self.left_out.folders.sort()
        self.names = [list(self._in_order(files)) for files in self._files]

    def _walk(self, i: int, folder: str, place: str) -> None:
        waiting = [(folder, place)]
        while waiting:
            folder, place = waiting.pop()
            if place in self._walked:
                continue
            self._walked.add(place)
            files: list[str] = []
            for entry in os.scandir(place):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    if entry.name.startswith("."):
                        self.left_out.hidden += 1
                    else:
                        self._links.append((i, path, place))
                elif entry.is_dir(follow_symlinks=False):
                    if is_system(entry.name):
                        self.left_out.folders.append(path)
                    else:
                        waiting.append((path, os.path.join(place, entry.name)))
                elif entry.is_file(follow_symlinks=False):
                    if self._is_picture(entry.name):
                        files.append(entry.name)
                else:
                    self.left_out.special.append(path)
            if files:
                self._files[i][folder] = place, files

    def _look_beside(self, folders: list[str]) -> None:
        for entry in os.scandir(self.root):
            if entry.is_dir() and entry.name not in folders:
                if is_system(entry.name):
                    self.left_out.folders.append(entry.name)
                else:
                    self.left_out.links[entry.name] = PARENT
            elif entry.is_file() and self._is_picture(entry.name):
                self.left_out.no_class += 1

    def _is_picture(self, name: str) -> bool:
        if name.startswith(".") or name.lower() in SYSTEM_FILES:
            self.left_out.hidden += 1
        elif name.lower().endswith(SUFFIXES):
            return True
        else:
            self.left_out.suffixes[os.path.splitext(name)[1].lower()] += 1
        return False

    def _follow_links(self) -> None:
        if not self._links:
            return
        real = {os.path.join(place, name) for files in self._files for place, names in files.values() for name in names}
        while self._links:
            links, self._links = sorted(self._links), []
            for i, path, place in links:
                self._follow(i, path, place, real)

    def _follow(self, i: int, path: str, place: str, real: set[str]) -> None:
        folder, _, name = path.rpartition("/")
        target = self._real_path(place, name)
        if os.path.isdir(target):
            if is_system(name):
                self.left_out.folders.append(path)
            elif _leads_up(target, place) or _leads_up(target, self._parent_of_all):
                self.left_out.links[path] = PARENT
            elif target in self._walked:
                self.left_out.links[path] = TWICE
            else:
                before = set(self._files[i])
                self._walk(i, path, target)
                for new in set(self._files[i]) - before:
                    where, names = self._files[i][new]
                    self._files[i][new] = where, [n for n in names if os.path.join(where, n) not in real]
                    real.update(os.path.join(where, n) for n in names)
        elif os.path.exists(target) and not os.path.isfile(target):
            self.left_out.special.append(path)
        elif target in real:
            if name.lower().endswith(SUFFIXES):
                self.left_out.links[path] = TWICE
        elif self._is_picture(name):  # one that leads nowhere, too: it cannot be read, which will be said
            real.add(target)
            self._files[i].setdefault(folder, (place, []))[1].append(name)

    def _real_path(self, place: str, name: str) -> str:
        """`os.path.realpath`, quicker for many links into one folder; `place` is a real path."""
        link = os.path.join(place, name)
        folder, last = os.path.split(os.path.join(place, os.readlink(link)))
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        target = os.path.join(self._real_folders[folder], last)
        return os.path.realpath(link) if last in ("", ".", "..") or os.path.islink(target) else target

    @staticmethod
    def _in_order(files: dict[str, tuple[str, list[str]]]) -> Iterator[str]:
        for folder in sorted(files):
            yield from (f"{folder}/{name}" if folder else name for name in sorted(files[folder][1]))
