import pytest
import torch

from varlite.evaluation.judges.diversity import Recall, WithinClass
from varlite.evaluation.judges.interface import Pictures


def pictures(x_NX, classes=2):
    """Pictures whose features are the rows given, classes in turn."""
    blank = torch.zeros(len(x_NX), 1, 1, 1, dtype=torch.uint8)
    found = Pictures(blank, torch.arange(len(x_NX)) % classes, {})
    found.once("second", lambda: x_NX)
    return found


def normal(n, seed=0):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def scores(x_NX, real_NX):
    judges = WithinClass("spread", "second"), WithinClass("nearest", "second"), Recall("second")
    return [judge.score(judge.rows(pictures(x_NX)), judge.rows(pictures(real_NX))) for judge in judges]


def test_other_samples_of_the_same_kind_are_as_diverse():
    spread, nearest, recall = scores(normal(600, 1), normal(600, 2))
    assert spread < 0.05 and nearest < 0.05 and recall > 0.8


def test_samples_half_as_wide_have_half_the_distances():
    spread, nearest, recall = scores(0.5 * normal(600, 1), normal(600, 2))
    assert spread == pytest.approx(0.5, abs=0.03) and nearest == pytest.approx(0.5, abs=0.04) and recall < 0.6


def test_duplicates_are_seen_by_the_nearest_and_hardly_by_the_spread():
    # Classes alternate, so that each of the two has the same twenty rows thirty times.
    spread, nearest, recall = scores(normal(40, 1).repeat(15, 1), normal(600, 2))
    assert spread < 0.15 and nearest > 0.95 and recall < 0.2


def test_wider_than_real_is_no_better():
    assert scores(2 * normal(600, 1), normal(600, 2))[0] == pytest.approx(1, abs=0.1)


def test_as_many_of_each_class_are_compared():
    judge = WithinClass("nearest", "second")
    few, many = normal(100, 1), normal(2000, 2)
    assert judge.score(judge.rows(pictures(few)), judge.rows(pictures(many))) < 0.15


def test_unknown_classes_and_too_few_images_are_said():
    judge = WithinClass("spread", "second")
    with pytest.raises(ValueError, match="spread_features: the classes of the images are not known"):
        judge.rows(Pictures(torch.zeros(3, 1, 1, 1, dtype=torch.uint8), None, {}))
    with pytest.raises(ValueError, match="spread_features: it takes at least 4 images of a class"):
        judge.score(judge.rows(pictures(normal(6))), judge.rows(pictures(normal(6, 1))))
    with pytest.raises(ValueError, match="recall_second: it takes at least 4 images, got 3 and 50"):
        Recall("second").score(normal(3), normal(50))
