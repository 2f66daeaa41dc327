import json

import pytest
import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.classifier import load_classifier
from varlite.training import train_classifier as module
from varlite.training import train_second_classifier
from varlite.training.options import Options
from varlite.training.train_classifier import ClassifierRecipe, ClassifierTraining, train_classifier
from varlite.training.train_second_classifier import JudgeRecipe, JudgeTraining


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


@pytest.mark.parametrize("flip", [False, True])
def test_flip_mirrors_half_of_the_images_of_both_classifiers(few_test_images, tmp_path, monkeypatch, flip):
    data = FashionMNIST("train")
    plain_BCHW = data.images(torch.arange(200))
    for training, recipe in ((ClassifierTraining, ClassifierRecipe()), (JudgeTraining, JudgeRecipe(hole=1))):
        one = training.__new__(training)
        one.data, one.options, one.recipe = data, Options(flip=flip), recipe
        monkeypatch.setattr(train_second_classifier, "augment", lambda img_BCHW, shift, hole: img_BCHW)
        seen_BCHW = one.images(torch.arange(200), step=3)
        mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(seen_BCHW, plain_BCHW, strict=True)]
        assert 70 < sum(mirrored) < 130 if flip else torch.equal(seen_BCHW, plain_BCHW)
