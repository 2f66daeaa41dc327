"""One checksum for the contents of many files, quick for files that have not changed."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from varlite.datasets.pixels import POOL
from varlite.io.files import atomic
from varlite.io.places import cache_folder

SETTLED = 2.0  # seconds after which another change of a file is sure to have another time
UNREADABLE = "unreadable"


def content_checksum(root: Path, names: list[str], labels: list[str]) -> str:
    """SHA-256 of what is in the files `names` below `root`, and of a label for each, but not of where they lie.

    The contents are read once and the result is kept in VARLITE_CACHE, for files of these paths, sizes and times of
    change. Where something changed, or so lately that times could not tell, they are read again.
    """
    paths = [f"{root}/{name}" for name in names]
    return kept_checksum(root, names, [], labels, lambda: POOL.map(_content, paths))


def kept_checksum(
    root: Path, files: list[str], parts: list[str], labels: list[str], contents: Callable[[], Iterable[str]]
) -> str:
    """The same for pictures that lie in archives or tables: the `contents` are what `digest_of` says of each.

    The result is kept for `files` below `root` of these paths, sizes and times of change, and for these `parts`: names
    of what is taken from them.
    """
    known, newest = _paths_and_times(root, files)
    digest = hashlib.sha256(known.encode())
    for text in (*parts, *labels):
        digest.update(text.encode(errors="surrogateescape") + b"\0")
    kept = cache_folder() / "checksums" / digest.hexdigest()[:40]
    settled = newest < time.time() - SETTLED
    try:
        if settled and len(found := kept.read_text()) == 64:
            return found
    except (OSError, ValueError):
        pass
    bar = tqdm(contents(), "checksum of the data", len(labels), unit="file", delay=3, leave=False)
    digest, complete = hashlib.sha256(), True
    for label, content in zip(labels, bar, strict=True):
        digest.update(f"{label}\0{content}\0".encode(errors="surrogateescape"))
        complete = complete and content != UNREADABLE
    if settled and complete:
        try:
            with atomic(kept, sync=False) as temporary:
                temporary.write_text(digest.hexdigest())
        except OSError:  # no place for a cache: it takes longer next time
            pass
    return digest.hexdigest()


def digest_of(content: bytes) -> str:
    """What a checksum holds of one picture."""
    return hashlib.blake2b(content).hexdigest()


def _paths_and_times(root: Path, names: list[str]) -> tuple[str, float]:
    """A digest of the paths, sizes and times of change of files, and the latest of these times."""
    digest, newest = hashlib.sha256(os.fsencode(os.path.realpath(root))), 0.0
    for name in names:
        try:
            about = os.stat(f"{root}/{name}")
        except OSError:
            digest.update(os.fsencode(name) + b"\0gone\0")
        else:
            digest.update(os.fsencode(name) + f"\0{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}\0".encode())
            # Of the change of the file's entry: the other one can be set, and cameras do not know the date.
            newest = max(newest, about.st_mtime if os.name == "nt" else about.st_ctime)
    return digest.hexdigest(), newest


def _content(path: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return UNREADABLE
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return UNREADABLE
