import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from varlite.commands import verify
from varlite.speed import verify_report

# Finds no package but torch, NumPy, safetensors and what torch itself needs.
BARE = """
import sys
from importlib.machinery import PathFinder

NEEDED = {"torch", "torchgen", "functorch", "numpy", "safetensors", "varlite"}
NEEDED |= {"sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions", "triton"}

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in NEEDED or top in sys.stdlib_module_names or top.startswith("_")
        return PathFinder.find_spec(name, path, target) if known else None

sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
for name in ("tyro", "accelerate", "tqdm", "PIL"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " is still found")
"""

# All parts of a CPU, in this process, on sizes that take seconds.
RUN = """
import math, torch
from varlite import cli
from varlite.models import VARConfig
from varlite.speed import verify_equality, verify_memory, verify_report, verify_speed, verify_training
from varlite.speed.verify_parts import Job, rows_of
from varlite.tokenizer import TokenizerConfig

tiny = {"vocab": 32, "z": 8, "scales": [1, 2, 3]}
net = {"ch": 32, "multipliers": (1,), "encoder_blocks": (0,), "decoder_blocks": (0,), "phi_shared": 1}
all_cases = verify_equality.cases
verify_equality.cases = lambda: all_cases()[:1]
verify_equality.MODELS = ("fashion-var-d4",)
verify_memory.LARGEST = "fashion-var-d1"
verify_speed.ENOUGH, verify_speed.SHIPPED, verify_speed.SETTINGS = 0.0, {"fashion-var-d4": (1,)}, {"top_k": 9}
verify_speed.NARROW, verify_speed.NARROW_TOKENIZER = VARConfig(2, 32, 2, **tiny), TokenizerConfig(**net, **tiny)
verify_training.SMALL = {"fashion-var-d1": 2}
ran = []

def run(device, out):
    for part in verify_report.ON_CPU:
        rows = list(rows_of(part, Job(device, math.inf, True)))
        assert rows and all(row.passed is not False and row.value != "not run" for row in rows), rows
        ran.append(part.name)

verify_report.verify = run
sys.argv = ["varlite", "verify", "--device", "cpu"]
cli.main()
print(*ran, sep=", ")
"""


def test_the_part_of_a_cpu_passes_where_nothing_but_torch_numpy_and_safetensors_can_be_imported(tmp_path):
    top = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(top)}
    found = subprocess.run(
        [sys.executable, "-c", BARE + RUN], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split("\n")[-2] == "machine, parity, same tokens, sampling, memory, training"


def test_the_command_asks_for_its_device_and_file(varlite, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(verify_report, "verify", lambda *arguments: asked.append(arguments))
    assert varlite("verify", "--device", "cpu", "--out", "a.json")[0] == 0
    verify.without_tyro(["--device", "cpu", "--out", "a.json"])
    assert asked == [(torch.device("cpu"), Path("a.json"))] * 2


@pytest.mark.parametrize("words", [["--out", "."], ["--device", "cpu", "--out", "."]])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(refused, words):
    refused(["verify", *words], "out: . is a folder, and a file is needed there")


def test_what_did_not_pass_is_an_error_after_the_table(monkeypatch, capsys):
    rows = [{"what": "x", "value": 1, "unit": "", "beside": "published 2", "passed": False, "note": ""}]
    record = {"machine": "m", "versions": {"torch": "2"}, "seconds": {"p": 1.0}, "parts": {"p": rows}}
    monkeypatch.setattr(verify_report, "run_parts", lambda *_: record)
    with pytest.raises(ValueError, match="1 of its checks did not pass: p: x"):
        verify_report.verify(torch.device("cpu"))
    out = capsys.readouterr().out
    assert out.endswith("FAILED: p: x\n") and "published 2" in out
