"""Where things lie: the data that ships, and the caches of this user."""

import os
from pathlib import Path

DATA = Path(os.environ.get("VARLITE_DATA", Path(__file__).resolve().parents[2] / "data"))
CHECKPOINTS, RESULTS, PUBLISHED = DATA / "checkpoints", DATA / "results", DATA / "published"


def cache_folder() -> Path:
    """VARLITE_CACHE, or ~/.cache/varlite: token maps, features and fetched data. Asked for anew at every use."""
    return Path(os.environ.get("VARLITE_CACHE") or Path.home() / ".cache" / "varlite")
