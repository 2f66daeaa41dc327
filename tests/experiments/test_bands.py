import json

import numpy as np
import pytest

from varlite.checkpoints.load import load, load_tokenizer, shipped
from varlite.experiments import bands
from varlite.experiments.bands import against_shipped, fashion_models, load_results, report, reproduce_fashion
from varlite.io.files import sha256
from varlite.tokenizer import decoder_fingerprint

MODEL = "fashion-var-d4"


@pytest.fixture
def measured(monkeypatch):
    """Requests, in place of samples: every one has a score that its seed and guidance decide."""
    requests = []

    def evaluate(request, out, device):
        requests.append(request)
        value = 0.5 + request.seed / 100 + request.cfg / 10
        scores = dict.fromkeys((*bands.SCORES, "seconds_per_image"), value) | {"num": 40, "seed": 0}
        return {"scores": scores, "panel": {"num": 40}}

    monkeypatch.setattr(bands, "evaluate", evaluate)
    monkeypatch.setattr(bands, "seconds_per_image", lambda models: [0.125] * len(models))
    monkeypatch.setattr(bands, "score_tokenizer", lambda tokenizer: {"val_mse": 0.01, "perplexity_per_scale": [1]})
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
    evaluate, seeds = bands.evaluate, []

    def fragile(request, out, device):
        seeds.append(request.seed)
        if seeds == [0, 1]:
            raise KeyboardInterrupt
        return evaluate(request, out, device)

    monkeypatch.setattr(bands, "evaluate", fragile)
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


def shipped_record(*fds, num=100):
    return {"num": num, "runs": {str(i): {"fd": fd} for i, fd in enumerate(fds)}, "band": {"fd": [min(fds), max(fds)]}}


def within(mean, shipped, num=100, seeds=3):
    record = {"num": num, "mean": {"fd": mean}, "runs": dict.fromkeys(range(seeds))}
    return [row[3] for row in against_shipped(record, shipped)]


def test_a_score_far_from_the_seeds_that_ship_is_outside_and_one_seed_may_lie_farther_than_the_mean_of_many():
    shipped = shipped_record(2.0, 2.05, 2.1)
    assert within(2.15, shipped) == [True] and within(2.4, shipped) == [False]
    assert within(2.25, shipped, seeds=1) == [True] and within(2.25, shipped, seeds=30) == [False]
    assert within(2.0, shipped, num=50) == [] == against_shipped({"num": 100}, None)
    assert within(1.001, shipped_record(1.0)) == [True] and within(1.01, shipped_record(1.0)) == [False]  # a tokenizer


def test_of_new_seeds_of_the_same_model_nineteen_in_twenty_agree_with_three_that_ship():
    rng, agreeing = np.random.default_rng(0), 0
    for _ in range(600):
        shipped, new = rng.normal(2.6, 0.03, 3), rng.normal(2.6, 0.03, 3)
        agreeing += within(new.mean(), shipped_record(*shipped)) == [True]
    assert 0.93 * 600 < agreeing < 0.985 * 600


def test_the_report_says_what_disagrees_with_what_ships_and_what_it_is_of(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bands, "RESULTS", tmp_path / "shipped")
    reproduce_fashion(tmp_path / "shipped", 40, (0, 1, 2), (MODEL,))
    shipped = load_results(tmp_path / "shipped")
    monkeypatch.setattr(bands, "load_results", lambda: shipped)
    report(reproduce_fashion(tmp_path / "a", 40, (1,), (MODEL,)), tmp_path / "a")
    out = capsys.readouterr().out
    assert "5 of 5 scores agree with those that ship" in out and "within" in out
    assert "40 samples for each sampling seed (1) of one training of each model" in out
    report(reproduce_fashion(tmp_path / "b", 40, (19,), (MODEL,)), tmp_path / "b")
    out = capsys.readouterr().out
    assert "0 of 5 scores agree" in out and "OUTSIDE" in out


def test_the_command_measures_a_model_that_ships(varlite, cache, quick_panel, tmp_path):
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
        tokenizer = load_tokenizer(name) if record["kind"] == "tokenizer" else load(name)[1]
        assert record["decoder_sha256"] == decoder_fingerprint(tokenizer)
        assert record["num"] == 10_000 and record["command"].startswith("varlite reproduce fashion --num 10000")
        assert len(record["runs"]) == (1 if record["kind"] == "tokenizer" else 3)
        for score, (low, high) in record["band"].items():
            values = [run[score] for run in record["runs"].values()]
            assert low == min(values) <= record["mean"][score] * 1.00001 and high == max(values)
