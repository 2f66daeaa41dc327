"""Additions to sampling before the panel: every set is measured once, and held against plain sampling."""

import json

import pytest

from varlite.evaluation.judges.verdict import Report, Score
from varlite.experiments import additions
from varlite.experiments.additions import PLAIN, Bench, report, reproduce_additions, verdicts
from varlite.io.places import RESULTS

WAYS = ("d4", "d4, ssg 0.6", "d6 drafts 2, d4 refines", "d4, 0.5 kept", "d4, temperature 0.8")


def panel(tokens, drawn):
    return Report(
        100, {"tokens": Score(tokens, tokens - 0.1, tokens + 0.1, 1, 0.1),
             "drawn_tokens": Score(drawn, drawn - 0.1, drawn + 0.1, 1, 0.1)},
    )  # fmt: skip


@pytest.fixture
def measured(monkeypatch):
    """Sets in place of samples: with SSG drawn tokens get worse and encoded ones better."""
    asked = []

    class Few(Bench):
        def __init__(self, num):
            self.sets = dict.fromkeys([PLAIN, "d4, ssg 0.6"])

        def measure(self, name):
            asked.append(name)
            far = name != PLAIN
            scores = dict.fromkeys(additions.SCORES, 0.5)
            return {"scores": scores, "panel": panel(2 - 0.5 * far, 1.2 + 3 * far).record()}

        def seconds(self):
            return dict.fromkeys(self.sets, 0.01)

    monkeypatch.setattr(additions, "Bench", Few)
    return asked


def test_each_set_is_measured_once_and_loses_or_wins_by_name(measured, tmp_path, capsys):
    record = reproduce_additions(tmp_path, 100)
    assert reproduce_additions(tmp_path, 100)["sets"] == record["sets"] and measured == [PLAIN, "d4, ssg 0.6"]
    verdict = record["verdicts"]["d4, ssg 0.6"]
    assert (verdict["worse by"], verdict["better by"]) == (["drawn_tokens"], ["tokens"])
    assert "d4 10.0 (tokens), rank 1" in verdict["all"] and "d4, ssg 0.6 5.0 (tokens), rank 1" in verdict["of images"]
    report(record)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "10.0 ms  worst 10.0 (tokens)" in lines[0]
    assert json.loads((tmp_path / "additions.json").read_text())["command"] == "varlite reproduce additions --num 100"
    with pytest.raises(ValueError, match=r"additions\.json holds other measurements"):
        reproduce_additions(tmp_path, 200)
    with pytest.raises(ValueError, match="num must be a multiple of 100, ten images of each class, got 150"):
        reproduce_additions(tmp_path, 150)


def test_every_set_is_drawn_in_its_own_way(monkeypatch):
    monkeypatch.setattr(additions, "open_panel", lambda tokenizer, num: type("Panel", (), {"views": {}}))
    bench = Bench(100)
    drawn = {name: bench.sets[name]() for name in WAYS}
    tokens = {name: pictures.view("drawn") for name, pictures in drawn.items()}
    assert all(len(x) == 100 and drawn[name].labels.bincount().tolist() == [10] * 10 for name, x in tokens.items())
    assert (tokens["d4"][:, :1] == tokens["d4, ssg 0.6"][:, :1]).all()  # the first scale has no prior
    assert all(not (tokens["d4"] == tokens[name]).all() for name in ("d6 drafts 2, d4 refines", "d4, temperature 0.8"))
    kept = {tuple(row) for row in tokens["d4, 0.5 kept"].tolist()}
    more = {tuple(row) for row in bench.draw(bench.small, 200).view("drawn").tolist()}
    assert kept <= more and len(bench.sets) == 2 + 3 + 4 + 2 + 3


def test_the_committed_verdicts_follow_from_the_committed_scores():
    path = RESULTS / "additions.json"
    if not path.exists():
        pytest.skip("not measured yet")
    record = json.loads(path.read_text())
    assert verdicts(record) == record["verdicts"]
