"""What the text after --data stands for: which kind of data set, of which files."""

import re
from collections.abc import Callable, Iterable
from glob import glob
from pathlib import Path
from typing import Any

from varlite.datasets.folders import ImageFolder
from varlite.datasets.hugging_face import HuggingFaceImages, open_named, open_parquet, open_saved
from varlite.datasets.layout import TEST, TRAIN, has_pictures, is_system, sub_folders
from varlite.datasets.listed import ListedImages
from varlite.datasets.npz import NpzImages
from varlite.datasets.tars import TarImages
from varlite.io.class_names import natural_key
from varlite.io.places import expand_home

ACCEPTED = (
    "a folder with a sub-folder of images for each class, an .npz, a .csv or .tsv of paths and labels, .tar or "
    ".parquet files (one, a folder of them, or a pattern such as 'shards-{0000..0009}.tar'), a data set of Hugging "
    "Face saved on disk, or hf:NAME"
)
HUB = "hf:"
SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` of the library `datasets` writes


def open_source(
    name: str, split: str, size: tuple[int, int], channels: int, unreadable: float, named: Iterable[str] = ()
) -> Any:
    """The dataset that a folder, a file, a pattern or hf:NAME stands for; `named` are the names that others have.

    Raises FileNotFoundError for what is not there, ValueError for what is something else.
    """
    if name.startswith(HUB):
        return HuggingFaceImages(name, open_named(name.removeprefix(HUB)), split, size, channels, unreadable)
    path = expand_home(name)
    if (folder := image_folder(name)) is not None:
        return ImageFolder(folder, split, size, channels, unreadable)
    if path.is_dir() and any((path / found).is_file() for found in SAVED):
        return HuggingFaceImages(name, open_saved(path), split, size, channels, unreadable)
    if path.is_dir():
        shards, tables = files_in(path, ".tar"), files_in(path, ".parquet")
        if shards and tables:
            raise ValueError(f"data: {name} holds both .tar and .parquet files: name one kind, as {name}/*.tar")
        paths = shards or tables
    else:
        paths = [path] if path.exists() else files_of(str(path))
    if not paths:
        known = ", ".join(named)
        raise FileNotFoundError(f"data: {name} is neither the name of a dataset ({known}) nor {ACCEPTED}")
    kinds = {found.suffix.lower() for found in paths}
    kind = kinds.pop()
    if kinds or kind not in READERS or (len(paths) > 1 and kind not in (".tar", ".parquet")):
        what = "is a file" if len(paths) == 1 else f"stands for {len(paths):,} files"
        raise ValueError(f"data: {name} {what} of a kind that is not read: name {ACCEPTED}")
    return READERS[kind](name, paths, split, size, channels, unreadable)


def image_folder(name: str) -> Path | None:
    """The folder of that name, unless it is one of archives or tables, or saved by the library `datasets`."""
    path = expand_home(name)
    if not path.is_dir() or any((path / found).is_file() for found in SAVED):
        return None
    return None if files_in(path, ".tar") or files_in(path, ".parquet") else path


def _npz(name: str, paths: list[Path], split: str, size: tuple[int, int], channels: int, unreadable: float) -> Any:
    return NpzImages(paths[0], split, size, channels)


def _list(name: str, paths: list[Path], split: str, size: tuple[int, int], channels: int, unreadable: float) -> Any:
    return ListedImages(paths[0], split, size, channels, unreadable)


def _tar(name: str, paths: list[Path], split: str, size: tuple[int, int], channels: int, unreadable: float) -> Any:
    return TarImages(paths, split, size, channels, unreadable)


def _parquet(name: str, paths: list[Path], split: str, size: tuple[int, int], channels: int, unreadable: float) -> Any:
    return HuggingFaceImages(name, open_parquet(paths), split, size, channels, unreadable)


READERS: dict[str, Callable[..., Any]] = {
    ".npz": _npz, ".csv": _list, ".tsv": _list, ".tar": _tar, ".parquet": _parquet,
}  # fmt: skip


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The archives or tables in a folder, or in its sub-folders for training and testing, sorted as people count.

    None are given where sub-folders hold images: an archive beside those is a copy of them.
    """
    inner = [folder / name for name in sub_folders(folder)]
    splits = [path for path in inner if any(p.fullmatch(path.name.lower()) for p in (TRAIN, *TEST))]
    found = [path for place in (folder, *splits) for path in place.glob(f"*{suffix}") if path.is_file()]
    found = [path for path in found if not is_system(path.name)]
    if found and any(
        has_pictures(path) for place in (folder, *splits) for path in map(place.joinpath, sub_folders(place))
    ):
        return []
    return sorted(found, key=lambda path: natural_key(path.as_posix()))


def files_of(pattern: str) -> list[Path]:
    """The files of a pattern with *, ? or [], or with numbers as {0000..0009} or words as {train,val}.

    Raises FileNotFoundError for a number or word whose file is not there.
    """
    found: list[Path] = []
    for one in expanded(pattern):
        if glob_here := [Path(path) for path in glob(one)]:
            found += glob_here
        elif one != pattern:
            raise FileNotFoundError(f"data: there is no {one}, which {pattern} stands for among others")
    return sorted(dict.fromkeys(found), key=lambda path: natural_key(path.as_posix()))


def expanded(pattern: str) -> list[str]:
    """Braces written out as shells do: {0..9} and {a,b}."""
    braces = re.search(r"\{([^{}]*(?:\.\.|,)[^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    inside = braces[1]
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        first, last = numbers[1], numbers[2]
        words = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    else:
        words = inside.split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [text for word in words for text in expanded(before + word + after)]
