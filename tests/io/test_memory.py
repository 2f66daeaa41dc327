import subprocess
import sys

import pytest

LOOP = """
import resource, sys, torch
from varlite.io.memory import keep_freed_memory, peak_memory
keep_freed_memory(sys.argv[1] == "keep")
for _ in range(10):
    torch.ones(64 * 2**18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(64 * 2**18)  # 64 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, peak_memory())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is changed")
def test_memory_that_is_kept_is_not_asked_for_page_by_page_again_and_is_used_for_what_follows():
    faults, peak = {}, {}
    for mode in ("keep", "default"):
        done = subprocess.run([sys.executable, "-c", LOOP, mode], capture_output=True, text=True, check=True)
        faults[mode], peak[mode] = (int(x) for x in done.stdout.split())
    assert faults["keep"] * 20 < faults["default"]
    assert peak["keep"] < peak["default"] + 2**29  # twenty blocks were more than twice as much
