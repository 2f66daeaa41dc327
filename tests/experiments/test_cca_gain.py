import json
import shutil

import pytest
import torch

from varlite.evaluation.judges.jury import Panel, fashion_pictures, open_judges, open_views
from varlite.experiments import cca_gain
from varlite.experiments.cca_gain import ARMS, load_cca, report, reproduce_cca
from varlite.io.files import read_model, save_model
from varlite.io.places import CHECKPOINTS

NUM, JUDGES = 20, {"fd_second", "recall_second", "drawn_tokens"}


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """The experiment with an alignment that is done already, on few pictures: another's weights, a little changed."""
    folder = tmp_path / "runs" / "fashion-var-d4-cca"
    shutil.copytree(CHECKPOINTS / "fashion-var-d4", folder)
    about, tensors = read_model(folder / "model.safetensors")
    changed = {name: t + 0.05 * t.std() if t.ndim == 2 else t for name, t in tensors.items()}
    save_model(folder / "model.safetensors", about, changed)
    (folder / "log.jsonl").write_text(json.dumps({"step": 2, "loss": 1.0, "own": -1.0, "other": -9.0, "seconds": 3}))
    (folder / "log.jsonl").write_text((folder / "log.jsonl").read_text() + "\n")
    monkeypatch.setattr(cca_gain, "align", lambda *_: folder / "model.safetensors")

    def few(tokenizer, num):
        reference, real, training = fashion_pictures(num, open_views(tokenizer))
        training = training.part(torch.arange(200))
        judges = [judge for judge in open_judges(tokenizer, training) if judge.name in JUDGES]
        return Panel(judges, reference.part(torch.arange(200)), real)

    class Means:
        def score(self, images, label_N):
            return dict.fromkeys(cca_gain.SCORES, images.float().mean().item())

    monkeypatch.setattr(cca_gain, "open_panel", few)
    monkeypatch.setattr(cca_gain, "Scorer", Means)
    monkeypatch.setattr(cca_gain, "seconds_per_image", lambda loaded, batch, rounds: [0.1 / batch for _ in loaded])
    return tmp_path


def test_alignment_is_scored_and_timed_beside_guidance_and_measured_once(quick, capsys, monkeypatch):
    record = reproduce_cca(quick, quick / "runs", NUM)
    assert list(record["arms"]) == list(ARMS) and json.loads((quick / "cca.json").read_text()) == record
    for arm in record["arms"].values():
        assert {"accuracy", "fd", "recall", "second_accuracy"} <= arm["scores"].keys()
        assert arm["panel"]["scores"].keys() == JUDGES
        assert arm["seconds_per_image"] == {"1": 0.1, "64": 0.1 / 64}
    before, after, guided = record["arms"].values()
    assert [(arm["weights"], arm["cfg"]) for arm in (before, after, guided)] == list(ARMS.values())
    assert len({arm["scores"]["fd"] for arm in (before, after, guided)}) == 3
    assert sorted(place["arm"] for place in record["order"]) == sorted(ARMS)
    assert record["training"]["recipe"]["steps"] == 3600 and record["training"]["curve"][-1]["other"] == -9
    report(record)
    assert capsys.readouterr().out.count("ms (batch 64)") == 3
    assert load_cca(quick) == record and load_cca(quick / "runs") is None
    monkeypatch.setattr(cca_gain, "Scores", None)  # nothing is measured again
    assert reproduce_cca(quick, quick / "runs", NUM) == record
    with pytest.raises(ValueError, match=r"holds other measurements \(num is 20 there, 60 here\)"):
        reproduce_cca(quick, quick / "runs", 60)
