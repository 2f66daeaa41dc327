import subprocess
import sys

import pytest

LOOP = """
import resource, sys, torch
from varlite.io.memory import keep_freed_memory, peak_memory
keep_freed_memory(sys.argv[1] == "keep")
for _ in range(10):
    torch.ones(64 * 2**18)
before, peak = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, peak_memory()
for _ in range(10):
    torch.ones(64 * 2**18)  # 64 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, peak_memory() - peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is changed")
def test_memory_that_is_kept_is_not_asked_for_page_by_page_again_and_does_not_grow():
    faults, grown = {}, {}
    for mode in ("keep", "default"):
        done = subprocess.run([sys.executable, "-c", LOOP, mode], capture_output=True, text=True, check=True)
        faults[mode], grown[mode] = (int(x) for x in done.stdout.split())
    assert faults["keep"] * 20 < faults["default"]
    assert grown["keep"] < 2**26


def test_it_is_imported_where_there_is_no_module_resource():
    """On Windows."""
    code = "import sys; sys.modules['resource'] = None; import varlite.io.memory, varlite.io.places"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts each program by itself")
def test_the_peak_is_not_that_of_a_larger_program_that_started_this_one():
    inner = "from varlite.io.memory import peak_memory; print(peak_memory())"
    outer = (
        f"import subprocess, sys; x = bytearray(2**30); subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    )
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**29
