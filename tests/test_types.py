"""Types are checked among the tests, since mypy keeps but one core busy."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_types_of_the_package_fit():
    command = [sys.executable, "-m", "mypy"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
