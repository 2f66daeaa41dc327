"""How much memory this process has taken, and what becomes of memory that it frees."""

import ctypes
import resource
import sys

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def peak_memory() -> int:
    """Bytes at the highest so far, of main memory."""
    # ru_maxrss is in KiB on Linux and in bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep_freed_memory(keep: bool = True) -> None:
    """Let this process use again what it frees, instead of giving it back and asking the system for more.

    By default every block of more than 32 MB comes from the system and goes back to it, cleared page by page each time:
    a fifth of what decoding a picture of 256 x 256 takes. The price is that the process stays as large as it ever
    was. `keep=False` is the default again. With another C library than glibc nothing happens.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(M_MMAP_MAX, 0 if keep else 65536)
    libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # where the default ends up once a large block was freed
    libc.mallopt(M_TRIM_THRESHOLD, -1 if keep else 2**26)
    if not keep:
        libc.malloc_trim(0)
