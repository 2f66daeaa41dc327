"""How much memory this process has taken, and whether it keeps memory that it frees."""

import ctypes
import sys
from pathlib import Path

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def peak_memory() -> int:
    """The most main memory that this process has taken so far, in bytes."""
    if sys.platform == "win32":
        return _peak_on_windows()
    if (peak := _peak_on_linux()) is not None:
        return peak
    import resource  # not there on Windows

    # ru_maxrss is in KiB on Linux and in bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _peak_on_linux() -> int | None:
    """VmHWM of this program. ru_maxrss is that of whatever was larger: this program, or the one that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _peak_on_windows() -> int:
    """PeakWorkingSetSize of PROCESS_MEMORY_COUNTERS: two 32-bit numbers, then eight as wide as a pointer."""
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009
    counters = (ctypes.c_size_t * (8 + 8 // ctypes.sizeof(ctypes.c_size_t)))()
    size = ctypes.sizeof(counters)
    ctypes.cast(counters, ctypes.POINTER(ctypes.c_uint32))[0] = size
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    read = kernel.K32GetProcessMemoryInfo(ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(counters), size)
    return counters[8 // ctypes.sizeof(ctypes.c_size_t)] if read else 0


def keep_freed_memory(keep: bool = True) -> None:
    """Reuse freed memory within this process, instead of returning it to the system and asking again.

    By default every block of more than 32 MB comes from the system and goes back to it, cleared page by page each time:
    a fifth of the time of decoding a 256 x 256 image. The price is that the process never shrinks. `keep=False`
    restores the default. Does nothing with a C library other than glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(M_MMAP_MAX, 0 if keep else 65536)
    libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # where the default ends up once a large block was freed
    libc.mallopt(M_TRIM_THRESHOLD, -1 if keep else 2**26)
    if not keep:
        libc.malloc_trim(0)
