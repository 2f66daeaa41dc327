import json

import pytest
import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.classifier import Classifier
from varlite.evaluation.judges.frechet import FeatureDistance
from varlite.evaluation.judges.second_classifier import (
    NAME,
    SecondClassifier,
    load_second_classifier,
    second_accuracy,
    second_features,
)
from varlite.io.files import save_model
from varlite.io.places import CHECKPOINTS
from varlite.training.train_second_classifier import augment

FOLDER = CHECKPOINTS / NAME


@pytest.fixture(scope="module")
def judge():
    return load_second_classifier()


def test_what_ships_is_small_and_as_good_as_its_card_says(judge):
    test, card = FashionMNIST("test"), json.loads((FOLDER / "card.json").read_text())
    assert (FOLDER / "model.safetensors").stat().st_size < 1e6
    found = second_accuracy(judge, test.all_images[:2000], test.labels[:2000])
    assert found == pytest.approx(card["scores"]["accuracy"], abs=0.02) and card["scores"]["accuracy"] > 0.9
    assert card["training"]["seed"] != 0  # the seed of the first classifier
    assert card["training"]["data_sha256"] == FashionMNIST("train").checksum


def test_features_are_rows_and_do_not_depend_on_the_batch(judge):
    images = FashionMNIST("test").all_images[:700]
    rows = second_features(judge, images)
    assert rows.shape == (700, judge.out.in_features) and rows.dtype == torch.float32
    torch.testing.assert_close(second_features(judge, images[650:]), rows[650:], atol=1e-4, rtol=1e-4)


def test_it_has_other_layers_than_the_first_classifier():
    first, second = ({type(m).__name__ for m in net.modules()} for net in (Classifier(10), SecondClassifier(10)))
    assert "Residual" in second - first
    assert {p.shape for p in Classifier(10).parameters() if p.ndim == 4}.isdisjoint(
        {p.shape for p in SecondClassifier(10).parameters() if p.ndim == 4}
    )


def test_the_distance_of_shifted_features_is_the_square_of_the_shift():
    rows = torch.rand(300, 8, generator=torch.Generator().manual_seed(0))
    judge = FeatureDistance("second")
    near, far = judge.score(rows + 0.1, rows), judge.score(rows + 1, rows)
    assert judge.name == "fd_second" and near == pytest.approx(8 * 0.01, rel=1e-2) and far == pytest.approx(8, rel=1e-2)


def test_augmentation_moves_by_a_pixel_and_cuts_one_square_out():
    torch.manual_seed(0)
    img = torch.full((400, 1, 28, 28), 7, dtype=torch.uint8)
    img[:, :, 14, 14] = 200
    changed = augment(img, shift=1, hole=3)
    assert changed.shape == img.shape and changed.dtype == torch.uint8
    assert (changed[:, 0, 3:25, 3:25] == 0).sum((1, 2)).max() == 9
    places = {tuple(place) for place in (changed == 200).nonzero()[:, 2:].tolist()}
    assert places == {(y, x) for y in (13, 14, 15) for x in (13, 14, 15)}


def test_other_images_and_other_files_are_refused(judge, tmp_path):
    with pytest.raises(
        ValueError, match=r"images: fashion-judge takes uint8 images \(N, 1, 28, 28\), got torch.float32"
    ):
        second_features(judge, torch.zeros(2, 1, 28, 28))
    save_model(tmp_path / "x.safetensors", {"kind": "var", "config": {}}, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="is a var, not a second-classifier"):
        load_second_classifier(tmp_path / "x.safetensors")


@pytest.mark.parametrize("hole", [1, 2, 3, 4])
def test_the_square_that_is_cut_out_has_the_side_asked_for(hole):
    torch.manual_seed(0)
    changed = augment(torch.full((200, 1, 28, 28), 7, dtype=torch.uint8), shift=1, hole=hole)
    assert (changed[:, 0, 5:23, 5:23] == 0).sum((1, 2)).max() == hole**2
