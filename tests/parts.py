"""Parts of `varlite verify` that go well or badly, for a process that imports them."""

import os
import time

import torch

from varlite.speed.verify_parts import Row


def fine(job):
    assert job.device.type == "cpu" and job.small and job.left() > 0
    yield Row("one", 1.5, "s", "", True)


def wrong(job):
    yield Row("two", passed=False)
    raise ValueError("no such thing")


def endless(job):
    yield Row("three")
    time.sleep(600)


def deadly(job):
    yield Row("four")
    os._exit(1)


def too_large(job):
    raise torch.OutOfMemoryError("out of memory")
    yield
