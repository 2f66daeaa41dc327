import pytest

from varlite.checkpoints.load import shipped
from varlite.experiments import guidance
from varlite.experiments.guidance import load_guidance, report, reproduce_guidance
from varlite.io.files import sha256


def test_the_sweep_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    measured = []

    def evaluate(request, out, device):
        measured.append(request)
        return {"scores": dict.fromkeys(guidance.SCORES, 0.5 + request.cfg / 10), "panel": {"num": 40}}

    def fragile(*arguments):
        if len(measured) == 9:
            monkeypatch.setattr(guidance, "evaluate", evaluate)
            raise KeyboardInterrupt
        return evaluate(*arguments)

    tuned = []
    monkeypatch.setattr(guidance, "tune", lambda model, num, found, keep: (tuned.append(num), keep()))
    monkeypatch.setattr(guidance, "lines", lambda found: ["chosen: cfg 1"])
    monkeypatch.setattr(guidance, "evaluate", fragile)
    with pytest.raises(KeyboardInterrupt):
        reproduce_guidance(tmp_path, 40)
    record = reproduce_guidance(tmp_path, 40)
    assert record == load_guidance(tmp_path) and len(measured) == 13
    assert [row["cfg"] for row in record["cfg"]] == [0, 0.5, 1, 1.5, 2, 3, 5]
    assert [row["top_k"] for row in record["top_k"]] == [0, 1, 10, 50, 100, 256]
    assert {row["top_p"] for row in record["cfg"]} == {0.96} and {row["top_p"] for row in record["top_k"]} == {0.0}
    assert record["cfg"][2]["fd"] == pytest.approx(0.6) and record["command"] == "varlite reproduce guidance --num 40"
    assert tuned == [40] and record["cfg"][0]["panel"] == {"num": 40}
    report(record)
    assert len(capsys.readouterr().out.splitlines()) == 15
    assert load_guidance(tmp_path / "nothing") is None


def test_the_sweep_that_ships_is_of_the_weights_that_ship():
    record = load_guidance()
    assert record["weights_sha256"] == sha256(shipped(record["model"]))
    assert len(record["cfg"]) == 7 and len(record["top_k"]) == 6
