import os
import time

import pytest

from varlite.datasets import checksums
from varlite.datasets.checksums import content_checksum

NAMES = ["a", "b"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two files, and a list of the paths whose contents are read."""
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checksums, "SETTLED", 0.0)
    for name in NAMES:
        (tmp_path / name).write_text(name * 100)
    time.sleep(0.02)  # the clock of the file system is coarse
    read, content = [], checksums._content
    monkeypatch.setattr(checksums, "_content", lambda path: read.append(path) or content(path))
    return tmp_path, read


def test_unchanged_files_are_not_read_again(files):
    root, read = files
    first = content_checksum(root, NAMES, NAMES)
    assert len(read) == 2
    assert content_checksum(root, NAMES, NAMES) == first and len(read) == 2
    assert content_checksum(root, NAMES, ["a", "c"]) != first  # another label


def test_a_change_that_keeps_size_and_time_is_noticed(files):
    root, _ = files
    first, about = content_checksum(root, NAMES, NAMES), os.stat(root / "a")
    (root / "a").write_text("c" * 100)
    os.utime(root / "a", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert content_checksum(root, NAMES, NAMES) != first


def test_a_change_back_gives_the_first_checksum(files):
    root, _ = files
    first = content_checksum(root, NAMES, NAMES)
    (root / "a").write_text("c" * 100)
    assert content_checksum(root, NAMES, NAMES) != first
    (root / "a").write_text("a" * 100)
    assert content_checksum(root, NAMES, NAMES) == first


def test_files_changed_just_now_are_read_again_since_times_cannot_tell(files, monkeypatch):
    root, read = files
    monkeypatch.setattr(checksums, "SETTLED", 60.0)
    for _ in range(2):
        content_checksum(root, NAMES, NAMES)
    assert len(read) == 4


def test_a_file_unreadable_for_a_moment_is_read_again(files):
    root, _ = files
    first = content_checksum(root, NAMES, NAMES)
    (root / "a").rename(root / "elsewhere")
    assert len({first, *(content_checksum(root, NAMES, NAMES) for _ in range(2))}) == 2
    (root / "elsewhere").rename(root / "a")
    assert content_checksum(root, NAMES, NAMES) == first


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(files, monkeypatch):
    root, read = files
    (root / "no folder").touch()
    monkeypatch.setenv("VARLITE_CACHE", str(root / "no folder"))
    assert len({content_checksum(root, NAMES, NAMES) for _ in range(2)}) == 1 and len(read) == 4
