import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest
from filelock import SoftFileLock

from varlite.io.locks import hold

BUSY = "the folder is in use by {holder}: wait"


@pytest.fixture(params=[True, False], ids=["flock", "no flock"])
def flock(request, monkeypatch):
    """Both kinds of file system."""

    def missing(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    if not request.param:
        monkeypatch.setattr(fcntl, "flock", missing)
    return request.param


def test_a_second_one_is_refused_and_told_who_has_it(tmp_path, flock):
    lock = hold(tmp_path / ".lock", BUSY)
    with pytest.raises(OSError, match=f"the folder is in use by process {os.getpid()} on this host: wait"):
        hold(tmp_path / ".lock", BUSY)
    lock.release()
    hold(tmp_path / ".lock", BUSY).release()


@pytest.mark.parametrize("busy", [BUSY, ""])
def test_one_that_waits_gets_it_in_the_end_and_says_what_it_is_told_to(tmp_path, flock, capsys, busy):
    held = threading.Event()

    def first():
        lock = hold(tmp_path / ".lock", BUSY)
        held.set()
        time.sleep(0.1)
        lock.release()

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    hold(tmp_path / ".lock", busy, wait=True).release()
    thread.join()
    said = capsys.readouterr().err
    assert f"in use by process {os.getpid()} on this host" in said if busy else said == ""


def test_the_lock_of_a_killed_process_of_this_host_is_taken_over(tmp_path, flock):
    code = "import os, sys; from filelock import *; {}(sys.argv[1]).acquire(); os._exit(9)"
    kind = "FileLock" if flock else "SoftFileLock"
    subprocess.run([sys.executable, "-c", code.format(kind), str(tmp_path / ".lock")])
    hold(tmp_path / ".lock", BUSY).release()


def test_a_lock_left_on_another_host_is_named_with_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("varlite.io.locks.has_flock", lambda folder: False)
    (tmp_path / ".lock").write_text("4321\nnode7\n")
    with pytest.raises(OSError, match=rf"process 4321 on host node7: wait. .* no flock: .* delete {tmp_path}/.lock"):
        hold(tmp_path / ".lock", BUSY)


def test_where_flock_works_what_another_host_wrote_into_the_file_does_not_matter(tmp_path):
    (tmp_path / ".lock").write_text("4321\nnode7\n")
    lock = hold(tmp_path / ".lock", BUSY)
    assert not isinstance(lock, SoftFileLock)
    lock.release()
