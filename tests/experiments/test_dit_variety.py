"""Why DiT is more varied: one thing is changed at a time, and the record says what that did."""

import json
from types import SimpleNamespace

import pytest
import torch

from tests.examples import lively, tokenizer_for
from varlite.datasets.pixels import to_bytes
from varlite.evaluation.judges.verdict import Report, Score
from varlite.evaluation.small_models import class_balanced
from varlite.experiments import dit_variety
from varlite.experiments.dit_variety import CHANGES, VARIETY, effects, report, reproduce_dit_variety
from varlite.io.places import RESULTS
from varlite.sampling import generate_many

SETS = ["VAR", "VAR, no filter, cfg 1.5", "VAR, no filter, cfg 0.5", "DiT", "DiT, quantized", "real", "real, quantized"]


@pytest.fixture
def measured(monkeypatch):
    """Sets in place of samples: what is quantized lies farther from real pictures by two judges, all else is alike."""
    asked = []

    class Few(dit_variety.Bench):
        def __init__(self, sources, num):
            self.sets = dict.fromkeys(SETS)

        def measure(self, name):
            asked.append(name)
            far = {judge: 1.5 + ("quantized" in name) * ("nearest" in judge) for judge in VARIETY}
            panel = Report(100, {judge: Score(x, x - 0.1, x + 0.1, 1, 0.1) for judge, x in far.items()})
            return {"scores": {"accuracy": 0.9}, "panel": panel.record()}

    monkeypatch.setattr(dit_variety, "Bench", Few)
    monkeypatch.setattr(dit_variety, "trained", lambda preset, folder, options: preset)
    monkeypatch.setattr(dit_variety, "weights_file", lambda source: RESULTS / "table1.json")
    return asked


def test_each_set_is_measured_once_and_every_change_named_with_what_it_did(measured, tmp_path, capsys):
    record = reproduce_dit_variety(tmp_path, tmp_path, 100)
    assert reproduce_dit_variety(tmp_path, tmp_path, 100)["sets"] == record["sets"] and measured == SETS
    found = record["effects"]
    assert list(found) == list(CHANGES)
    assert found["codebook"]["worse by"] == ["nearest_pixels", "nearest_features"]
    assert found["codebook"]["better by"] == []
    assert not found["filter"]["better by"] and not found["filter"]["worse by"]
    report(record)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SETS) + len(CHANGES) and "nearest_pixels 2.500" in lines[SETS.index("DiT, quantized")]
    kept = json.loads((tmp_path / "dit-variety.json").read_text())
    assert kept["command"] == "varlite reproduce dit-variety --num 100"
    with pytest.raises(ValueError, match=r"dit-variety\.json holds other measurements"):
        reproduce_dit_variety(tmp_path, tmp_path, 200)
    with pytest.raises(ValueError, match="num must be a multiple of the 10 classes"):
        reproduce_dit_variety(tmp_path, tmp_path, 105)


def test_latents_are_those_that_the_sampler_decodes_and_quantized_they_are_what_tokens_hold():
    model = lively("dit")
    tokenizer, classes = tokenizer_for(model), model.config.classes
    bench = SimpleNamespace(dit=model, tokenizer=tokenizer, num=2 * classes, panel=SimpleNamespace(views={}))
    f_NZhw = dit_variety.Bench.of_dit.func(bench)
    with torch.inference_mode():
        plain, quantized = (dit_variety.Bench.show(bench, f_NZhw, way).images.int() for way in (False, True))
    label_N = class_balanced(2 * classes, classes).tolist()
    drawn = torch.cat([img for img, _ in generate_many(model, tokenizer, label_N, 0, 100)])
    assert (plain - to_bytes(drawn).int()).abs().max() <= 1
    idx = tokenizer.quantizer.encode(f_NZhw, tokenizer.scales)[0]
    held = to_bytes((tokenizer.decode(idx) + 1) / 2).int()
    assert (quantized - held).abs().max() <= 1 < (plain - held).abs().max()


def test_the_committed_effects_follow_from_the_committed_scores():
    record = json.loads((RESULTS / "dit-variety.json").read_text())
    assert effects(record) == record["effects"]
