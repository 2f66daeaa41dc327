import json

import pytest
import torch

from varlite.evaluation.classifier import load_classifier
from varlite.training import train_classifier as module
from varlite.training.options import Options
from varlite.training.train_classifier import train_classifier


def test_a_classifier_learns_and_a_stop_in_between_changes_nothing(few_test_images, tmp_path, monkeypatch):
    options = Options(device="cpu", steps=12, batch=64, recipe=("warmup=2",))
    whole, broken = (load_classifier(train_classifier(tmp_path / "whole", options)), tmp_path / "broken")
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["val_accuracy"] > 0.3
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(module.Engine, "any", lambda self, mine: True)
        train_classifier(broken, options)
    resumed = load_classifier(train_classifier(broken, options))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    card = json.loads((broken / "card.json").read_text())["training"]
    assert (card["stage"], card["data"], card["recipe"]["steps"]) == ("classifier", "fashion", 12)
