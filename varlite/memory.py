"""How much memory this process has taken."""

import resource
import sys


def peak_memory() -> int:
    """Bytes at the highest so far, of main memory."""
    # ru_maxrss is in KiB on Linux and in bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
