import itertools
import json
import shutil

import pytest

from varlite.checkpoints.load import load
from varlite.evaluation.judges.verdict import CHOSEN_WITH, Report, Score
from varlite.experiments import ablation
from varlite.experiments.ablation import AGAINST, BESIDE, ROWS, agreement, reproduce_ablation
from varlite.experiments.bands import SCORES
from varlite.experiments.paper_tables import read_table
from varlite.experiments.scaling_laws import flops
from varlite.experiments.sweep import SWEEPS
from varlite.models import kind_of
from varlite.presets import MODELS


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """A folder that holds the same tiny model for every row, twice for one; and what was asked of `evaluate`."""
    for row in ROWS + BESIDE:
        shutil.copytree(trained / "var", tmp_path / "runs" / row.run, dirs_exist_ok=True)
    shutil.copytree(trained / "var", tmp_path / "runs" / "fashion-var-d4@1")
    asked = []

    def evaluate(request, out, device):
        asked.append(request)
        return {"scores": dict.fromkeys(SCORES, len(asked) / 10) | {"seconds_per_image": 1.0}, "panel": {"num": 20}}

    monkeypatch.setattr(ablation, "evaluate", evaluate)
    # Sampling settings for 512 codes, where these models have 32.
    monkeypatch.setattr(ablation, "seconds_per_image", lambda models: [2.0 / (1 + i) for i in range(len(models))])
    return tmp_path / "runs", asked


def test_every_row_is_measured_once_for_each_training_seed(runs, tmp_path):
    folder, asked = runs
    record = reproduce_ablation(tmp_path, folder, num=20)
    assert json.loads((tmp_path / "ablation.json").read_text()) == record
    assert len(asked) == len(ROWS + BESIDE) + 1 and {request.num for request in asked} == {20}
    row = record["rows"][5]
    assert (row["row"], row["model"], list(row["runs"])) == (6, "fashion-var-d4", ["0", "1"])
    assert (
        row["mean"]["fd"] == pytest.approx(sum(row["band"]["fd"]) / 2) and row["band"]["fd"][0] < row["band"]["fd"][1]
    )
    assert [row["relative_cost"] for row in record["rows"][:2]] == [1.0, 0.5]
    assert row["gflop_per_image"] == pytest.approx(
        flops(load(folder / row["model"])[0].config, "sampling") / 1e9, abs=1e-4
    )


def test_what_is_measured_is_kept_and_a_new_training_is_measured_anew(runs, tmp_path):
    folder, asked = runs
    first = reproduce_ablation(tmp_path, folder, num=20)
    count = len(asked)
    assert reproduce_ablation(tmp_path, folder, num=20)["rows"] == first["rows"] and len(asked) == count
    with open(folder / "fashion-var-d5" / "model.safetensors", "ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match="fashion-var-d5"):  # it is measured, and found to be damaged
        reproduce_ablation(tmp_path, folder, num=20)
    assert len(asked) == count + 1 and asked[-1].model.endswith("fashion-var-d5")


def test_a_run_that_is_missing_is_named_before_anything_is_measured(runs, tmp_path):
    folder, asked = runs
    shutil.rmtree(folder / "fashion-var-d5")
    with pytest.raises(FileNotFoundError, match="fashion-var-d5 holds no finished training"):
        reproduce_ablation(tmp_path, folder)
    assert not asked


def test_a_row_that_ships_needs_no_training_here(runs, tmp_path):
    folder, asked = runs
    shutil.rmtree(folder / "fashion-mvar-d4")
    reproduce_ablation(tmp_path, folder, num=20)
    assert asked[-1].model == "fashion-mvar-d4"


def test_its_rows_are_those_of_the_paper_and_each_adds_one_thing():
    assert [row.row for row in ROWS] == sorted({row["row"] for row in read_table("ablation")})
    assert {row.run for row in ROWS + BESIDE} <= {preset for preset, _ in SWEEPS["fashion"]}
    configs = [vars(MODELS[row.run].config) for row in ROWS]
    changed = [{key for key in a if a[key] != b[key]} for a, b in itertools.pairwise(configs)]
    assert changed[1:] == [{"adaln"}, set(), set(), {"attn_norm"}, {"depth", "width", "heads"}]
    assert [kind_of(MODELS[row.run].config).name for row in ROWS[:2]] == ["raster", "var"]


def judged(step, *trainings, tokenizer="one"):
    """A row whose trainings have these scores by each judge; the floor is zero, and lower is better."""
    runs = {}
    for seed, values in enumerate(trainings):
        scores = {name: Score(value, value - 0.1, value + 0.1, 0.0, 0.1) for name, value in values.items()}
        runs[str(seed)] = {"panel": Report(20, scores, tokenizer=tokenizer).record()}
    return {"step": step, "runs": runs}


def test_a_judge_counts_if_all_trainings_of_one_row_are_nearer_than_all_of_the_other():
    before = judged("before", {"a": 2, "b": 2, "c": 2, "fd_first": 2}, {"a": 3, "b": 3, "c": 3, "fd_first": 3})
    now = judged("now", {"a": 1, "b": 4, "c": 1, "fd_first": 1}, {"a": 1, "b": 5, "c": 2.5, "fd_first": 1})
    assert "fd_first" in CHOSEN_WITH  # it had its part in choices, so it has no vote
    assert agreement(before, now) == {"nearer": ["a"], "farther": ["b"], "cannot tell": ["c"]}
    assert agreement(now, before) == {"nearer": ["b"], "farther": ["a"], "cannot tell": ["c"]}


def test_judges_of_tokens_say_nothing_of_rows_with_two_tokenizers():
    before, now = judged("before", {"a": 2, "tokens": 2}), judged("now", {"a": 1, "tokens": 1}, tokenizer="another")
    assert agreement(before, now) == {"nearer": ["a"], "farther": [], "cannot tell": []}


def test_the_report_counts_judges_where_both_rows_have_several_trainings(capsys):
    before, now = judged("before", {"a": 2}, {"a": 3}), judged("now", {"a": 1}, {"a": 1})
    scored = {"mean": {"fd": 1.0, "accuracy": 0.5}, "band": {"fd": [0.5, 1.5]}}
    assert AGAINST[8] == 6
    ablation.report({"rows": [now | {"row": 8} | scored, before | {"row": 6} | scored]})
    assert "other judges, against before: 1 nearer, 0 farther, 0 cannot tell" in capsys.readouterr().out
    ablation.report({"rows": [judged("now", {"a": 1}) | {"row": 8} | scored, before | {"row": 6} | scored]})
    assert "other judges" not in capsys.readouterr().out
