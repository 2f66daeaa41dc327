"""Where things lie: the data that ships, and the caches of this user."""

import os
import tempfile
from pathlib import Path


def expand_home(path: str | Path) -> Path:
    """`path` with a leading ~ or ~user replaced. Raises ValueError where no home folder is known."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise ValueError(f"{path}: no home folder is known for {Path(expanded).parts[0]}: write the whole path")
    return Path(expanded)


DATA = Path(os.path.expanduser(os.environ.get("VARLITE_DATA") or Path(__file__).resolve().parents[2] / "data"))
CHECKPOINTS, RESULTS, PUBLISHED = DATA / "checkpoints", DATA / "results", DATA / "published"


def cache_folder() -> Path:
    """VARLITE_CACHE, or ~/.cache/varlite: token maps, features and fetched data. Asked for anew at every use.

    Without a home folder, or with one that cannot be written, varlite-USERID in the folder for temporary files.
    """
    if named := os.environ.get("VARLITE_CACHE"):
        return expand_home(named)
    home = os.path.expanduser("~")
    if home != "~" and can_be_made(folder := Path(home) / ".cache" / "varlite"):
        return folder
    user = os.getuid() if hasattr(os, "getuid") else "cache"
    folder = Path(tempfile.gettempdir()) / f"varlite-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():  # anybody may write to /tmp
        raise OSError(f"no place for the cache: {folder} is somebody else's; set VARLITE_CACHE to a folder of yours")
    return folder


def can_be_made(folder: Path) -> bool:
    """Whether this user may write to `folder`, or may make it where it does not exist."""
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
