"""Where the pictures of a tar archive lie in it: with their places known, any of them is one read away."""

import hashlib
import json
import os
import tarfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from varlite.datasets.checksums import SETTLED
from varlite.datasets.layout import SYSTEM_FILES, is_system
from varlite.datasets.pixels import SUFFIXES
from varlite.io.files import atomic
from varlite.io.places import cache_folder
from varlite.io.records import parse_object, read_record

COMPRESSED = {
    b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd",
}  # fmt: skip


@dataclass
class TarIndex:
    """The pictures of one archive, in its order: name, first byte, bytes. `classes`: what .cls files say, by their
    name without the suffix. An archive within the archive is a folder of that name."""

    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    classes: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)  # suffix, or kind of entry -> how many

    def class_of(self, name: str) -> str | None:
        """What the .cls file beside a picture says; WebDataset's key ends at the first dot of the file's name."""
        folder, slash, file = name.rpartition("/")
        for key in (name.rpartition(".")[0], folder + slash + file.partition(".")[0]):
            if key in self.classes:
                return self.classes[key]
        return None


def read_index(path: Path) -> TarIndex:
    """The index of a tar archive, kept in VARLITE_CACHE for a file of this path, size and time of change.

    Raises ValueError for what is compressed, cut off or no tar archive, FileNotFoundError where there is none.
    """
    about = os.stat(path)
    known = f"{os.path.realpath(path)}\0{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
    kept = cache_folder() / "tar-indexes" / f"{hashlib.sha256(os.fsencode(known)).hexdigest()[:40]}.json"
    try:
        return read_record(TarIndex, parse_object(kept.read_text(), kept), kept)
    except (OSError, ValueError):
        pass
    index = make_index(path)
    if max(about.st_mtime, about.st_ctime) < time.time() - SETTLED:
        try:
            with atomic(kept, sync=False) as temporary:
                temporary.write_text(json.dumps(asdict(index)))
        except OSError:  # no place for a cache: the archive is read again next time
            pass
    return index


def make_index(path: Path) -> TarIndex:
    """Read the headers of a whole archive. Raises as `read_index` does."""
    index, others = TarIndex(), Counter[str]()
    with open(path, "rb") as file:
        head = file.read(6)
        if how := next((program for magic, program in COMPRESSED.items() if head.startswith(magic)), None):
            raise ValueError(f"data: {path} is compressed, and pictures are read from anywhere in it: {how} it first")
        file.seek(0)
        try:
            _walk(file, 0, "", index, others)
        except tarfile.TarError as error:
            raise ValueError(f"data: {path} is no tar archive, or is damaged ({error})") from None
    index.left_out = dict(others)
    return index


def _walk(file: BinaryIO, base: int, prefix: str, index: TarIndex, others: Counter[str]) -> None:
    """Note the members of the archive `file`, which begins at byte `base` of the outermost one."""
    places: dict[str, tuple[int, int]] = {}  # what hard links, which have no contents of their own, lead to
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep a million of them
            name = member.name.removeprefix("./")
            parts, suffix = name.split("/"), os.path.splitext(name)[1].lower()
            if member.isdir():
                continue
            if member.islnk() and member.linkname in places:
                start, size = places[member.linkname]
            elif not member.isreg() or member.issparse():
                others["links and special files"] += 1
                continue
            else:
                start, size = base + member.offset_data, member.size
            places[member.name] = start, size
            if any(is_system(part) for part in parts) or parts[-1].lower() in SYSTEM_FILES:
                others["hidden and system files"] += 1
            elif suffix in SUFFIXES:
                index.names.append(prefix + name)
                index.starts.append(start)
                index.sizes.append(size)
            elif suffix == ".cls":
                file.seek(start - base)
                text = file.read(min(size, 1000)).decode(errors="replace")
                index.classes[prefix + name[: -len(suffix)]] = text.strip()
            elif suffix == ".tar" and not member.islnk() and (inner := tar.extractfile(member)) is not None:
                _walk(inner, start, prefix + name[: -len(suffix)] + "/", index, others)  # type: ignore[arg-type]
            else:
                others[suffix or "without a suffix"] += 1
