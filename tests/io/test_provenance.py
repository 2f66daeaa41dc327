from dataclasses import dataclass
from pathlib import Path

import torch

from varlite.io.provenance import command, machine, this_command, versions


@dataclass(frozen=True)
class Some:
    steps: int | None = None
    recipe: tuple[str, ...] = ()
    flip: bool = False
    top_k: int = 0


def test_a_command_line_has_what_was_given_and_what_is_not_the_default():
    assert command("train", Some(), out=Path("a b"), start=None) == "varlite train --out 'a b'"
    given = command("reproduce sweep", Some(steps=3, recipe=("gan=0.4", "l1=1"), flip=True), seed=0, compile=False)
    assert given == "varlite reproduce sweep --seed 0 --steps 3 --recipe gan=0.4 l1=1 --flip"


def test_the_command_line_of_this_process_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/varlite", "edit", "my photo.png"])
    assert this_command() == "varlite edit 'my photo.png'"


def test_versions_and_machine_name_what_numbers_depend_on():
    found = versions("torch_fidelity")
    assert list(found) == ["varlite", "torch", "numpy", "torch_fidelity"] and found["torch"] == torch.__version__
    assert "torch" in machine() and "+" not in machine()
