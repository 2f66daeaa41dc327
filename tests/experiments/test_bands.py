import json

import pytest

from varlite.checkpoints.load import shipped
from varlite.experiments import bands as reproduce
from varlite.experiments.bands import (
    compare,
    fashion_models,
    load_guidance,
    load_results,
    report,
    reproduce_fashion,
    reproduce_guidance,
)
from varlite.io.files import sha256

MODEL = "fashion-var-d4"


@pytest.fixture
def measured(monkeypatch):
    """Requests, in place of samples: every one has a score that its seed and guidance decide."""
    requests = []

    def evaluate(request, out, device):
        requests.append(request)
        value = 0.5 + request.seed / 100 + request.cfg / 10
        return {"scores": dict.fromkeys((*request.metrics, "seconds_per_image"), value) | {"num": 40, "seed": 0}}

    monkeypatch.setattr(reproduce, "evaluate", evaluate)
    monkeypatch.setattr(reproduce, "seconds_per_image", lambda models: [0.125] * len(models))
    monkeypatch.setattr(reproduce, "score_tokenizer", lambda tokenizer: {"val_mse": 0.01, "perplexity_per_scale": [1]})
    return requests


def test_every_seed_is_measured_once_and_spans_the_band(measured, tmp_path):
    reproduce_fashion(tmp_path, 40, (0, 1, 2), (MODEL, "fashion-vq"))
    records = load_results(tmp_path)
    assert records.keys() == {MODEL, "fashion-vq"} and [request.seed for request in measured] == [0, 1, 2]
    record = records[MODEL]
    assert record["runs"]["1"]["fd"] == pytest.approx(0.66) and "num" not in record["runs"]["1"]
    assert record["mean"]["fd"] == pytest.approx(0.66) and record["band"]["fd"] == pytest.approx([0.65, 0.67])
    assert record["mean"]["seconds_per_image"] == 0.125 and "seconds_per_image" not in record["band"]
    assert record["command"] == "varlite reproduce fashion --num 40 --seeds 0 1 2"
    assert record["kind"] == "var" and record["depth"] == 4 and record["parameters"] == 1_301_520
    assert records["fashion-vq"]["runs"] == {"0": {"val_mse": 0.01, "perplexity_per_scale": [1]}}
    assert records["fashion-vq"]["mean"] == {"val_mse": 0.01}


def test_what_is_finished_is_kept_when_it_is_broken_off(measured, tmp_path, monkeypatch):
    evaluate, seeds = reproduce.evaluate, []

    def fragile(request, out, device):
        seeds.append(request.seed)
        if seeds == [0, 1]:
            raise KeyboardInterrupt
        return evaluate(request, out, device)

    monkeypatch.setattr(reproduce, "evaluate", fragile)
    with pytest.raises(KeyboardInterrupt):
        reproduce_fashion(tmp_path, 40, (0, 1), (MODEL,))
    reproduce_fashion(tmp_path, 40, (0, 1), (MODEL,))
    assert seeds == [0, 1, 1] and list(load_results(tmp_path)[MODEL]["runs"]) == ["0", "1"]


def test_results_of_another_number_are_not_mixed(measured, tmp_path):
    reproduce_fashion(tmp_path, 40, (0,), (MODEL,))
    with pytest.raises(ValueError, match=r"holds other measurements \(num is 40 there, 60 here\): delete it, or use"):
        reproduce_fashion(tmp_path, 60, (0,), (MODEL,))
    with pytest.raises(ValueError, match="models: 'var-d16' is none of fashion-vq, fashion-vq-raster, fashion-var-d4"):
        reproduce_fashion(tmp_path, 40, (0,), ("var-d16",))


def test_a_score_near_the_band_is_within_and_one_far_from_it_outside(tmp_path):
    expected = {"num": 100, "band": {"fd": [2.0, 2.1], "accuracy": [0.9, 0.9]}}

    def within(num=100, **mean):
        return [row[0] for row in compare({"num": num, "mean": mean}, expected) if row[3]]

    assert within(fd=2.15, accuracy=0.9005) == ["fd", "accuracy"]
    assert within(fd=2.25, accuracy=0.89) == []
    assert compare({"num": 50, "mean": {"fd": 2.0}}, expected) == [] == compare({"num": 100, "mean": {}}, None)


def test_the_report_says_what_is_outside_the_band_that_ships(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "shipped")
    reproduce_fashion(tmp_path / "shipped", 40, (0, 1, 2), (MODEL,))
    shipped = load_results(tmp_path / "shipped")
    monkeypatch.setattr(reproduce, "load_results", lambda: shipped)
    report(reproduce_fashion(tmp_path / "a", 40, (1,), (MODEL,)), tmp_path / "a")
    out = capsys.readouterr().out
    assert "5 of 5 scores are within the band that ships" in out and "0.66       0.65 .. 0.67  within" in out
    report(reproduce_fashion(tmp_path / "b", 40, (9,), (MODEL,)), tmp_path / "b")
    out = capsys.readouterr().out
    assert "0 of 5 scores are within" in out and "OUTSIDE" in out


def test_the_guidance_sweep_goes_on_where_it_was(measured, tmp_path, monkeypatch):
    evaluate = reproduce.evaluate

    def fragile(request, out, device):
        if len(measured) == 9:
            monkeypatch.setattr(reproduce, "evaluate", evaluate)
            raise KeyboardInterrupt
        return evaluate(request, out, device)

    monkeypatch.setattr(reproduce, "evaluate", fragile)
    with pytest.raises(KeyboardInterrupt):
        reproduce_guidance(tmp_path, 40)
    record = reproduce_guidance(tmp_path, 40)
    assert record == load_guidance(tmp_path) and len(measured) == 13
    assert [row["cfg"] for row in record["cfg"]] == [0, 0.5, 1, 1.5, 2, 3, 5]
    assert [row["top_k"] for row in record["top_k"]] == [0, 1, 10, 50, 100, 256]
    assert {row["top_p"] for row in record["cfg"]} == {0.96} and {row["top_p"] for row in record["top_k"]} == {0.0}
    assert record["cfg"][2]["fd"] == pytest.approx(0.6) and record["command"] == "varlite reproduce guidance --num 40"
    assert load_guidance(tmp_path / "nothing") is None


def test_the_command_measures_a_model_that_ships(varlite, cache, tmp_path):
    status, out, err = varlite(
        "reproduce", "fashion", "--num", 40, "--seeds", 5, "--models", MODEL, "--out", "results"
    )  # fmt: skip
    assert status == 0, err
    record = json.loads((tmp_path / "results" / f"{MODEL}.json").read_text())
    assert record["runs"]["5"]["accuracy"] > 0.8 and record["runs"]["5"]["fd"] > 1
    assert MODEL in fashion_models() and f"{MODEL}           " in out and "written to results" in out


def test_the_results_that_ship_are_of_the_weights_that_ship_over_three_seeds():
    for name, record in load_results().items():
        assert record["weights_sha256"] == sha256(shipped(name)), f"{name} was trained anew: measure it again"
        assert record["num"] == 10_000 and record["command"].startswith("varlite reproduce fashion --num 10000")
        assert len(record["runs"]) == (1 if record["kind"] == "tokenizer" else 3)
        for score, (low, high) in record["band"].items():
            values = [run[score] for run in record["runs"].values()]
            assert low == min(values) <= record["mean"][score] * 1.00001 and high == max(values)
    guidance = load_guidance()
    if guidance is not None:
        assert guidance["weights_sha256"] == sha256(shipped(guidance["model"]))
        assert len(guidance["cfg"]) == 7 and len(guidance["top_k"]) == 6
