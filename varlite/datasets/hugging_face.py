"""Data sets of Hugging Face, by name or on disk, and parquet files with images in them: by the library `datasets`."""

import hashlib
import os
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from varlite.datasets.checksums import UNREADABLE, digest_of, kept_checksum
from varlite.datasets.encoded import EncodedImages, every_tenth
from varlite.datasets.layout import shortened
from varlite.datasets.pixels import POOL, Unreadable
from varlite.datasets.splits import WORDS, split_files
from varlite.io.class_names import natural_key
from varlite.io.places import cache_folder

LABELS = ("label", "labels", "fine_label", "class", "category", "target")
IMAGES = ("image", "img", "jpg", "png", "picture")


def need_datasets() -> Any:
    """The library `datasets`. Raises ValueError that names the extra where it is not installed."""
    if find_spec("datasets") is None:
        raise ValueError("data: parquet files and data sets of Hugging Face need: pip install 'varlite[data]'")
    import datasets

    return datasets


def open_parquet(paths: list[Path]) -> dict[str, Any]:
    """The splits of parquet files whose names may say which they are, such as train-00000-of-00002.parquet."""
    library = need_datasets()
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    train, test = split_files(path.absolute().relative_to(root).as_posix() for path in paths)
    files = {kind: [str(root / name) for name in found] for kind, found in (("train", train), ("test", test)) if found}
    # The library writes the tables once as files that are mapped into memory, and knows them again.
    cache = str(cache_folder() / "parquet")
    return dict(_opened(lambda: library.load_dataset("parquet", data_files=files, cache_dir=cache), str(paths[0])))


def open_saved(folder: Path) -> dict[str, Any]:
    """The splits of what `save_to_disk` wrote."""
    library = need_datasets()
    return _by_split(_opened(lambda: library.load_from_disk(str(folder)), str(folder)))


def open_named(name: str) -> dict[str, Any]:
    """The splits of a data set of the hub, NAME or NAME:CONFIGURATION, which the library fetches and keeps."""
    library = need_datasets()
    of, _, configuration = name.partition(":")
    return _by_split(_opened(lambda: library.load_dataset(of, configuration or None), f"hf:{name}"))


def _opened(load: Any, what: str) -> Any:
    try:
        return load()
    except Exception as error:  # the library raises errors of many kinds
        raise ValueError(f"data: {what} cannot be opened: {' '.join(str(error).split())[:300]}") from None


def _by_split(found: Any) -> dict[str, Any]:
    return dict(found) if isinstance(found, dict) else {"train": found}


class HuggingFaceImages(EncodedImages):
    """A table of images and labels, row by row in its order; images stay as they were encoded.

    The test split is the first of validation and test that has labels; without one every tenth row. Names of classes
    are the table's. Raises ValueError where there is no column of images, or none of labels.
    """

    def __init__(
        self, name: str, tables: dict[str, Any], split: str, size: tuple[int, int], channels: int,
        unreadable: float = 0.25,
    ):  # fmt: skip
        library = need_datasets()
        train, test = _train_and_test(tables)
        image, label = _columns(name, train, library)
        table = test if split == "test" and test is not None else train
        self.classes, numbers = _classes(name, train, table, label, library)
        rows = np.flatnonzero(numbers >= 0)
        if test is None:
            rows = rows[every_tenth(numbers[rows]) == (split == "test")]
        if isinstance(table.features[image], library.Image):
            table = table.cast_column(image, library.Image(decode=False))
        self.table, self.image, self.rows = table.select_columns([image]), image, rows
        self._files = [file["filename"] for file in table.cache_files]
        labels, names = numbers[rows].tolist(), [f"row {row}" for row in rows.tolist()]
        super().__init__(Path(name), names, labels, self.classes, split, size, channels, unreadable)
        others = [other for other in tables if tables[other] is not train and tables[other] is not test]
        self.notes = (f"splits that are not used: {shortened(others)}",) if others else ()

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of each row's class, number and content."""
        labels = [f"{self.classes[c]}/{row}" for c, row in zip(self._own_labels, self.rows, strict=True)]
        known = hashlib.sha256(" ".join([self.image, self.table._fingerprint]).encode()).hexdigest()
        # Without files the table is in memory, and nothing but its fingerprint tells whether it is the same.
        root = os.path.commonpath([os.path.dirname(file) for file in self._files]) if self._files else os.curdir
        files = [os.path.relpath(file, root) for file in self._files]
        return kept_checksum(Path(root), files, [known], labels, lambda: POOL.map(self._digest, range(len(labels))))

    def _digest(self, i: int) -> str:
        try:
            return digest_of(self.content(i))
        except (OSError, Unreadable):
            return UNREADABLE

    def content(self, i: int) -> bytes:
        cell = self.table[int(self.rows[i])][self.image]
        if isinstance(cell, dict):
            content, path = cell.get("bytes"), cell.get("path")
            if content is None and path:
                return Path(path).read_bytes()
            cell = content
        if not isinstance(cell, bytes):
            raise Unreadable(self.names[i], "there is no image")
        return cell


def _train_and_test(tables: dict[str, Any]) -> tuple[Any, Any]:
    found: dict[int | None, Any] = {}
    for name, table in tables.items():
        kind = next((i for i, words in enumerate(WORDS) if name.lower() in words), None)
        found.setdefault(kind, table)
    if 0 not in found:
        return next(iter(tables.values())), None
    return found[0], next((found[i] for i in (1, 2) if i in found and _labelled(found[i])), None)


def _labelled(table: Any) -> bool:
    """False where all labels are -1 or missing, as in test splits whose answers are kept back."""
    names = [name for name in LABELS if name in table.features]
    first = table[names[0]][:1000] if names else []
    return not first or any(isinstance(x, str) or (x is not None and x >= 0) for x in first)


def _columns(name: str, table: Any, library: Any) -> tuple[str, str]:
    features = table.features
    bytes_like = [c for c in IMAGES if c in features and _holds_bytes(features[c])]
    images = [c for c, kind in features.items() if isinstance(kind, library.Image)] or bytes_like
    labels = [c for c, kind in features.items() if isinstance(kind, library.ClassLabel)]
    labels = [c for c in LABELS if c in labels or c in features] or labels
    if not images:
        raise ValueError(f"data: {name} has no column of images; it has {', '.join(features)}")
    if not labels:
        raise ValueError(f"data: {name} has no column of labels, such as label; it has {', '.join(features)}")
    return images[0], labels[0]


def _holds_bytes(kind: Any) -> bool:
    inner = kind.get("bytes") if isinstance(kind, dict) else kind
    return getattr(inner, "dtype", None) in ("binary", "large_binary")


def _classes(name: str, train: Any, table: Any, label: str, library: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """(names of the classes, number of each row; -1 for none)."""
    kind = table.features[label]
    if isinstance(kind, library.ClassLabel):
        return tuple(kind.names), np.array([-1 if x is None else x for x in table[label]], np.int64)
    said = [None if x is None or (isinstance(x, int) and x < 0) else str(x) for x in table[label]]
    of_train = said if table is train else [str(x) for x in train[label] if x is not None]
    classes = sorted({x for x in of_train if x is not None}, key=natural_key)
    known = {x: i for i, x in enumerate(classes)}
    if strange := sorted({x for x in said if x is not None} - set(known)):
        raise ValueError(f"data: {name} has test classes that training has not: {shortened(strange)}")
    return tuple(classes), np.array([-1 if x is None else known[x] for x in said], np.int64)
