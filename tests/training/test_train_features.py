import json

import torch

from varlite.evaluation.classifier import Classifier
from varlite.evaluation.feature_net import FeatureNet, load_features
from varlite.evaluation.judges.second_classifier import SecondClassifier
from varlite.training.options import Options
from varlite.training.train_features import damaged, train_features


def test_damage_is_told_by_how_much_and_leaves_a_third_sharp_and_a_third_clean():
    torch.manual_seed(0)
    checks = torch.ones(600, 1, 16, 16)
    checks[:, :, ::2, 1::2] = checks[:, :, 1::2, ::2] = -1
    x, degree_B2 = damaged(checks)
    assert x.shape == checks.shape and x.abs().max() <= 1 and degree_B2.min() >= 0 and degree_B2.max() < 1
    assert all(0.25 < (column == 0).float().mean() < 0.42 for column in degree_B2.T)
    untouched = (degree_B2 == 0).all(1)
    assert torch.allclose(x[untouched].abs(), torch.ones(()), atol=1e-5)
    sharp, blurred = ((degree_B2[:, 1] == 0) & part for part in (degree_B2[:, 0] == 0, degree_B2[:, 0] > 0.7))
    assert x[sharp].std() > 0.99 and x[blurred].std() < 0.2


def test_each_channel_of_a_colour_picture_is_damaged_alike():
    torch.manual_seed(0)
    grey = torch.rand(1, 1, 16, 16).expand(30, 3, -1, -1)
    x, degree_B2 = damaged(grey)
    clean = degree_B2[:, 1] == 0
    assert clean.any() and torch.allclose(x[clean, 0], x[clean, 2], atol=1e-6)
    assert (x[~clean, 0] != x[~clean, 2]).any()


def test_a_network_takes_pictures_of_other_channels_in_grey():
    torch.manual_seed(0)
    grey, colour = FeatureNet(10).eval(), FeatureNet(10, 3).eval()
    img = torch.rand(2, 3, 16, 16)
    mean = img.mean(1, keepdim=True)
    assert torch.equal(grey.maps(img)[0], grey.maps(mean)[0])
    assert torch.equal(colour.maps(mean)[0], colour.maps(mean.expand(-1, 3, -1, -1))[0])
    assert not torch.allclose(colour.maps(img)[0], colour.maps(mean)[0])


def test_it_has_other_layers_than_the_networks_that_score():
    def shapes(net):
        return {p.shape for p in net.parameters() if p.ndim == 4}

    assert shapes(FeatureNet(10)).isdisjoint(shapes(Classifier(10)) | shapes(SecondClassifier(10)))


def test_it_learns_both_tasks_and_ships_in_half_precision(few_test_images, tmp_path):
    path = train_features(tmp_path, Options(device="cpu", steps=16, batch=32, recipe=("warmup=2",)))
    log = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert log["val_accuracy"] > 0.2 and 0 < log["damage"] < 1 and path.stat().st_size < 1e6
    assert json.loads((tmp_path / "card.json").read_text())["training"]["seed"] == 20262
    assert not any(p.requires_grad for p in load_features(path).parameters())
