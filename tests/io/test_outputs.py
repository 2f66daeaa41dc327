import os
import tempfile
from pathlib import Path

import pytest

from varlite.io.outputs import check_file, check_folder
from varlite.io.places import PACKAGE


def test_a_place_that_does_not_exist_yet_is_accepted_and_nothing_is_left_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        check_folder("out", folder)
        check_file("grid", folder / "grid.PNG", ".png")
        check_file("out", (folder / "x.json").relative_to(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(NotADirectoryError, match="/file is a file, and a folder is needed there"):
            check_folder("out", folder)
    with pytest.raises(NotADirectoryError, match="/file is a file"):
        check_file("grid", tmp_path / "file" / "grid.png")
    with pytest.raises(IsADirectoryError, match=f"out: {tmp_path} is a folder, and a file is needed there"):
        check_file("out", tmp_path)


def test_a_device_and_a_link_to_nowhere_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match=f"out: {path} is a device or pipe, and an ordinary file is needed there"):
            check_file("out", path)
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError, match=r"out: .*/link is a link to nowhere, and a folder is needed there"):
        check_folder("out", tmp_path / "link")


def test_a_suffix_that_says_another_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"OUT must be a \.pth or \.npz file, got a\.bin"):
        check_file("OUT", tmp_path.relative_to(tmp_path) / "a.bin", ".pth", ".npz")


def test_a_place_where_no_file_can_be_made_is_refused_to_root_as_well(tmp_path, monkeypatch):
    def refuse(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=f"out: {tmp_path} cannot be written to .Read-only file system"):
        check_file("out", tmp_path / "a" / "b.json")


def test_nothing_is_written_inside_the_installed_package(tmp_path):
    (tmp_path / "link").symlink_to(PACKAGE)
    for folder in (PACKAGE / "data" / "results", tmp_path / "link" / "out"):
        with pytest.raises(PermissionError, match=f"out: {folder} is inside the package itself"):
            check_folder("out", folder)
    with pytest.raises(PermissionError, match=r"card: .* is inside the package itself: choose a folder of yours"):
        check_file("card", PACKAGE / "data" / "checkpoints" / "fashion-var-d4" / "card.json")
