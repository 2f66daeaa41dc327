"""A CSV of paths and labels as a dataset."""

import csv
import os
from functools import cached_property
from pathlib import Path

import numpy as np

from varlite.datasets.checksums import content_checksum
from varlite.datasets.encoded import ImageFiles, every_tenth
from varlite.datasets.layout import shortened
from varlite.datasets.splits import split_rows
from varlite.io.class_names import natural_key

# Names of columns, the most telling first.
PATH = ("path", "image_path", "file_path", "filepath", "file_name", "filename", "file", "image", "img", "id")
LABEL = ("label", "class_name", "class", "category", "target", "label_name")
SPLIT = ("split", "subset", "partition", "fold", "set")
LOOKED_AT = 100


class ListedImages(ImageFiles):
    """Images listed in a CSV or TSV, in the order of its lines: a path, from the list's folder on, and a label.

    The first line may name the columns, such as path, label and split; otherwise they are the first two. Labels are
    kept as names of classes, in natural order. A column `split` says train, val or test; without it every tenth image
    is for testing. Raises ValueError for a list without paths and labels, FileNotFoundError if no file is there.
    """

    def __init__(self, path: Path, split: str, size: tuple[int, int], channels: int, unreadable: float = 0.25):
        names, labels, splits = read_list(path)
        root = Path(os.path.realpath(path.parent))  # a way up from a link leads elsewhere
        names = [os.path.relpath(name, root) if os.path.isabs(name) else name for name in names]
        train, test = split_rows(splits) if splits else ([], [])
        if not train:
            number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
            tenth = every_tenth(np.array([number[label] for label in labels], np.int64))
            train, test = np.flatnonzero(~tenth).tolist(), np.flatnonzero(tenth).tolist()
        elif not test:
            raise ValueError(f"data: {path} has a column for splits, and none of its lines says val or test")
        classes = sorted({labels[row] for row in train}, key=natural_key)
        known = {name: i for i, name in enumerate(classes)}
        rows = test if split == "test" else train
        if strange := sorted({labels[row] for row in rows} - set(known)):
            raise ValueError(f"data: {path} has test classes that training has not: {shortened(strange)}")
        names = [names[row] for row in rows]
        looked_at = names[:: max(1, len(names) // LOOKED_AT)]
        if names and not any((root / name).exists() for name in looked_at):
            raise FileNotFoundError(f"data: {path} lists {names[0]}, which is not in {root}; nor are others")
        super().__init__(
            root, names, [known[labels[row]] for row in rows], tuple(classes), split, size, channels, unreadable
        )

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of each image's class, path as it is listed and content."""
        labels = [f"{self.classes[c]}/{name}" for c, name in zip(self._own_labels, self.names, strict=True)]
        return content_checksum(self.root, self.names, labels)


def read_list(path: Path) -> tuple[list[str], list[str], list[str]]:
    """(paths, labels, splits) of a CSV or TSV; no splits where there is no column of them. Raises ValueError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            tab = path.suffix.lower() == ".tsv" or ("\t" in head and "," not in head)
            delimiter = "\t" if tab else ";" if ";" in head and "," not in head else ","
            lines = [[cell.strip() for cell in line] for line in csv.reader(file, delimiter=delimiter) if any(line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"data: {path} cannot be read as a list of paths and labels ({error})") from None
    if not lines or len(lines[0]) < 2:
        raise ValueError(f"data: {path} must have a path and a label on each line")
    first = [cell.lower() for cell in lines[0]]
    columns = [next((first.index(name) for name in known if name in first), None) for known in (PATH, LABEL, SPLIT)]
    named = columns[0] is not None and columns[1] is not None
    if not named and columns.count(None) < 3 and not os.path.splitext(lines[0][0])[1]:
        what, known = ("paths", PATH) if columns[0] is None else ("labels", LABEL)
        raise ValueError(f"data: {path} has no column of {what}: it is to be called {', '.join(known[:5])}")
    of_path, of_label, of_split = columns if named else (0, 1, None)
    rows = lines[1:] if named else lines
    need = max(column for column in (of_path, of_label, of_split) if column is not None)
    for number, row in enumerate(rows, 1 + named):
        if len(row) <= need or not row[of_path or 0] or not row[of_label or 0]:
            raise ValueError(f"data: {path}, line {number} must have a path and a label, got {delimiter.join(row)!r}")
    if not rows:
        raise ValueError(f"data: {path} lists no images")
    splits = [] if of_split is None else [row[of_split] for row in rows]
    return [row[of_path or 0] for row in rows], [row[of_label or 0] for row in rows], splits
