import json
import time

import torch
from parts import deadly, endless, fine, too_large, wrong

from varlite.speed import verify_parts, verify_report
from varlite.speed.verify_parts import Job, Part, failures, run_parts

CPU = torch.device("cpu")


def test_a_part_that_fails_hangs_or_dies_costs_no_other_part(tmp_path, monkeypatch):
    monkeypatch.setattr(verify_parts, "GRACE", 0.5)
    runs = {"fine": fine, "wrong": wrong, "endless": endless, "deadly": deadly, "too large": too_large, "again": fine}
    parts = [Part(name, run, 0 if name == "endless" else 60) for name, run in runs.items()]
    parts[2:3] = [Part("endless", endless, -300)]  # what others leave does not help it
    shown = []
    record = run_parts(parts, CPU, True, tmp_path / "out.json", lambda part, row: shown.append((part, row.what)))
    rows = {name: [(row["what"], row["passed"]) for row in rows] for name, rows in record["parts"].items()}
    rest = "the rest of this part"
    assert rows["fine"] == rows["again"] == [("one", True)]
    assert rows["wrong"] == [("two", False), (rest, False)]
    assert rows["endless"][-1] == (rest, None) and rows["deadly"] == [("four", None), (rest, False)]
    assert rows["too large"] == [(rest, None)]
    assert json.loads((tmp_path / "out.json").read_text()) == record
    assert failures(record) == ["wrong: two", f"wrong: {rest}", f"deadly: {rest}"]
    assert shown == [(name, what) for name, pairs in rows.items() for what, _ in pairs]
    lines = verify_report.table(record).splitlines()
    assert (
        lines[1].split()[0] == "part"
        and lines[2].split()[:5] == ["fine", "1", "0", "0", "0"]
        and lines[-1].startswith("FAILED: wrong: two;")
    )


def test_the_budgets_together_are_less_than_eight_minutes_on_a_gpu_and_about_one_on_a_cpu():
    assert sum(part.seconds for part in verify_report.ON_GPU) <= 460
    assert sum(part.seconds for part in verify_report.ON_CPU) <= 90


def test_the_deadline_is_what_is_left():
    assert 9 < Job(CPU, time.monotonic() + 10, True).left() <= 10
