import pytest
import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation import features
from varlite.evaluation.classifier import FEATURES, Classifier, accuracy, load_classifier
from varlite.evaluation.metrics import matched_rows, rounded
from varlite.evaluation.small_models import Scorer, class_balanced
from varlite.io.files import save_model


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """A scorer by an untrained classifier: its features are still features."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    save_model(path, {"kind": "classifier", "config": {"classes": 10}}, Classifier(10).state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "shipped", lambda _: path)
        scorer = Scorer()
        few = FashionMNIST("test")  # enough, and ten times quicker
        scorer.test.all_images, scorer.test.labels = few.all_images[:1000], few.labels[:1000]
        yield scorer


def test_labels_are_balanced_or_refused():
    assert class_balanced(30, 10).bincount().tolist() == [3] * 10
    for num in (25, 10, 0, -20):
        with pytest.raises(ValueError, match=f"num must be a multiple of the 10 classes and at least 20, got {num}"):
            class_balanced(num, 10)


def test_test_images_are_matched_to_the_labels_in_their_order(scorer):
    label_N = torch.tensor([3, 0, 3, 9])
    rows = scorer.balanced_rows(label_N)
    labels = FashionMNIST("test").labels
    assert torch.equal(labels[rows], label_N)
    assert rows.tolist() == [(labels == c).nonzero()[i].item() for c, i in ((3, 0), (0, 0), (3, 1), (9, 0))]


def test_the_test_images_themselves_score_best_and_noise_worst(scorer):
    label_N = class_balanced(200, 10)
    real = scorer.test.images(scorer.balanced_rows(label_N))
    noise = torch.randint(0, 256, real.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    best, worst = scorer.score(real, label_N), scorer.score(noise, label_N)
    assert best["precision"] == best["recall"] == best["recall_within_class"] == 1
    assert worst["recall"] < 0.1 and worst["fd"] > 20 * best["fd"]
    assert scorer.real.shape == (1000, FEATURES)


def test_accuracy_is_the_share_of_right_answers(scorer):
    images = scorer.test.images(torch.arange(40))
    _, predicted = scorer.features(images)
    wrong = predicted.clone()
    wrong[:10] = (wrong[:10] + 1) % 10
    assert accuracy(scorer.classifier, images, predicted) == 1 and accuracy(scorer.classifier, images, wrong) == 0.75
    assert scorer.score(images[:20].repeat(2, 1, 1, 1), predicted[:20].repeat(2))["accuracy"] == 1


def test_a_file_of_another_kind_is_no_classifier(trained):
    with pytest.raises(ValueError, match=r"model.safetensors is a var, not a classifier"):
        load_classifier(trained / "var" / "model.safetensors")


def test_more_labels_than_there_are_images_of_a_class_take_each_image_once():
    labels_M = torch.tensor([1, 0, 1, 0, 2])
    assert matched_rows(labels_M, torch.tensor([0, 1, 2, 0, 1, 2, 0])).tolist() == [1, 0, 4, 3, 2]


def test_scores_are_rounded_for_the_card_but_small_ones_keep_four_digits():
    assert rounded({"a": 0.123456789, "b": 3, "c": [1.23456789]}) == {"a": 0.12346, "b": 3, "c": [1.23456789]}
    assert rounded({"kid": 0.000123456, "negative": -0.000123456}) == {"kid": 0.0001235, "negative": -0.0001235}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"classes": 11}, "does not hold the model of its header: .* out.weight"),
        ({"classes": "ten"}, "its config makes no model"),
        ({"kinds": 10}, "its config makes no model .*unexpected keyword argument 'kinds'"),
    ],
)
def test_a_classifier_whose_header_was_edited_is_refused(tmp_path, config, message):
    path = tmp_path / "model.safetensors"
    save_model(path, {"kind": "classifier", "config": config}, Classifier(10).state_dict())
    with pytest.raises(ValueError, match=rf"^{path}:? {message}"):
        load_classifier(path)
