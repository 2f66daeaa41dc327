"""Which of several files, or of the paths in an archive, are for training and which for testing."""

import re
from collections.abc import Iterable

from varlite.datasets.layout import TEST, TRAIN

WORDS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))


def split_files(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """(for training, for testing) of files whose names or folders say it, such as train-0001.tar; otherwise all are
    for training, and none for testing. Where there are both, files for validation come before those for testing."""
    by_split: dict[int | None, list[str]] = {}
    for name in names:
        words = re.split(r"[^a-z]+", name.lower())
        found = next((i for i, known in enumerate(WORDS) if set(known) & set(words)), None)
        by_split.setdefault(found, []).append(name)
    train = by_split.get(0, [])
    if not train:
        return [name for found in by_split.values() for name in found], []
    return train, by_split.get(1) or by_split.get(2) or []


def split_rows(words: Iterable[str]) -> tuple[list[int], list[int]]:
    """The same for the column of a table: rows for training and for testing."""
    rows: dict[int | None, list[int]] = {}
    for row, word in enumerate(words):
        found = next((i for i, known in enumerate(WORDS) if word.strip().lower() in known), None)
        rows.setdefault(found, []).append(row)
    return rows.get(0, []), rows.get(1) or rows.get(2) or []


def unwrapped(names: list[str]) -> str:
    """The folder, with a slash, that all paths lie in and that is no class: what an archive of a folder begins with."""
    prefix = ""
    while True:
        rest = [name[len(prefix) :] for name in names]
        first = {name.partition("/")[0] for name in rest if "/" in name}
        if len(first) > 1 or any("/" not in name for name in rest):
            return prefix
        (only,) = first
        inner = {name.split("/")[1] for name in rest if name.count("/") > 1}
        several = len(inner) > 1 or any(TRAIN.fullmatch(name.lower()) for name in inner)
        deeper = len(inner) == 1 and all(name.count("/") > 1 for name in rest)
        if TRAIN.fullmatch(only.lower()) or not (several or deeper):
            return prefix
        if deeper and not several and unwrapped([name[len(only) + 1 :] for name in rest]) == "":
            return prefix
        prefix += f"{only}/"


def split_paths(names: list[str]) -> tuple[str, str | None]:
    """(folder for training, folder for testing), with slashes, of paths CLASS/PICTURE or SPLIT/CLASS/PICTURE."""
    prefix = unwrapped(names)
    tops = {name[len(prefix) :].partition("/")[0] for name in names if "/" in name[len(prefix) :]}
    trains = [top for top in tops if TRAIN.fullmatch(top.lower())]
    if len(trains) != 1:
        return prefix, None
    train = f"{prefix}{trains[0]}/"
    others = [top for top in tops if top not in trains and not any(p.fullmatch(top.lower()) for p in TEST)]
    if others and any("/" not in name.removeprefix(train) for name in names if name.startswith(train)):
        return prefix, None  # a class of trains
    for pattern in TEST:
        for top in sorted(tops):
            if pattern.fullmatch(top.lower()):
                return train, f"{prefix}{top}/"
    return train, None
