"""One writer at a time, on file systems with flock and on those without."""

import errno
import os
import socket
import sys
import tempfile
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def hold(path: Path, busy: str, wait: bool = False) -> BaseFileLock:
    """Lock the file `path` until `release()` is called or the process ends.

    If another process holds it, raise OSError with the sentence `busy`, in which {holder} stands for that process; with
    `wait`, print the sentence, if there is one, and wait. Without flock the existence of the file is the lock, so a
    killed process leaves its lock behind: on this host it is taken over; one left by another host must be deleted by
    hand, as the error says.
    """
    flock = has_flock(path.parent)
    lock = FileLock(path) if flock else SoftFileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        message = busy.format(holder=holder(path))
        if message and not flock:
            message += f". This file system has no flock: if that process has ended, delete {path}"
        if not wait:
            raise OSError(message) from None
        if message:
            print(message, file=sys.stderr)
        lock.acquire()
    if flock and os.name == "posix":
        path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")  # a SoftFileLock does so itself
    return lock


def holder(path: Path) -> str:
    """Who holds a lock, as written in its file."""
    try:
        pid, host, *_ = path.read_text().splitlines()
    except (OSError, ValueError):
        return "another process"
    return f"process {pid} on {'this host' if host == socket.gethostname() else f'host {host}'}"


def has_flock(folder: Path) -> bool:
    """Whether the file system of `folder` can lock files."""
    if os.name != "posix":
        return True
    import fcntl

    with tempfile.TemporaryFile(dir=folder) as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_FLOCK:
                return False
            raise
    return True
