"""Whether results can be written where they are wanted: asked before the work, and leaving nothing behind."""

import os
import tempfile
from pathlib import Path

from varlite.io.places import PACKAGE


def check_folder(argument: str, folder: Path) -> None:
    """Raises an OSError that names the argument unless files can be written into `folder`, which may not exist yet.

    Nothing is written inside the installed package: the next installation would remove it.
    """
    if Path(os.path.realpath(folder)).is_relative_to(PACKAGE):
        raise PermissionError(f"{argument}: {folder} is inside the package itself: choose a folder of yours")
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        kind = "file" if there.exists() else "link to nowhere"
        raise NotADirectoryError(f"{argument}: {there} is a {kind}, and a folder is needed there")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise PermissionError(f"{argument}: {there} cannot be written to ({error.strerror})") from None


def check_file(argument: str, path: Path, *suffixes: str) -> None:
    """The same for a file. Raises ValueError if it has none of the suffixes, where there are any."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{argument} must be a {' or '.join(suffixes)} file, got {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{argument}: {path} is a folder, and a file is needed there")
    if path.exists() and not path.is_file():  # as root, writing to /dev/null would put a file in its place
        raise OSError(f"{argument}: {path} is a device or pipe, and an ordinary file is needed there")
    check_folder(argument, path.parent)
