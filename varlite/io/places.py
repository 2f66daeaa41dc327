"""Where things lie: the data that ships, and the caches of this user."""

import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def expand_home(path: str | Path) -> Path:
    """`path` with a leading ~ or ~user replaced. Raises ValueError where no home folder is known."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise ValueError(f"{path}: no home folder is known for {Path(expanded).parts[0]}: write the whole path")
    return Path(expanded)


def data_folder() -> Path:
    """VARLITE_DATA, or the data that ships: inside an installed package, at the top of a clone of the repository."""
    if named := os.environ.get("VARLITE_DATA"):
        return Path(os.path.expanduser(named))
    installed = Path(str(files("varlite") / "data"))
    return installed if installed.is_dir() else PACKAGE.parent / "data"


DATA = data_folder()
CHECKPOINTS, RESULTS, PUBLISHED = DATA / "checkpoints", DATA / "results", DATA / "published"


def cache_folder() -> Path:
    """VARLITE_CACHE, or varlite in the caches of this user: token maps, features and fetched data.

    Asked for anew at every use. Without a home folder, or with one that cannot be written, varlite-USERID in the folder
    for temporary files.
    """
    if named := os.environ.get("VARLITE_CACHE"):
        return expand_home(named)
    caches = user_caches()
    if caches.is_absolute() and can_be_made(caches / "varlite"):
        return caches / "varlite"
    user = os.getuid() if hasattr(os, "getuid") else "cache"
    folder = Path(tempfile.gettempdir()) / f"varlite-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():  # anybody may write to /tmp
        raise OSError(f"no place for the cache: {folder} is somebody else's; set VARLITE_CACHE to a folder of yours")
    return folder


def user_caches() -> Path:
    """The folder in which programs keep caches: %LOCALAPPDATA% on Windows, ~/Library/Caches on macOS, otherwise
    XDG_CACHE_HOME or ~/.cache. It begins with ~ where no home folder is known."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local"))
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches"))
    named = os.environ.get("XDG_CACHE_HOME", "")  # the specification says to pass over a relative path
    return Path(named if os.path.isabs(named) else os.path.expanduser("~/.cache"))


def can_be_made(folder: Path) -> bool:
    """Whether this user may write to `folder`, or may make it where it does not exist."""
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
