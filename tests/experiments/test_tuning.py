"""Guidance chosen by several judges on one half of the test set, and tested on the other with another seed."""

import pytest
import torch

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.judges import jury
from varlite.evaluation.judges.interface import Pictures, pixels
from varlite.evaluation.judges.jury import Panel
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, projection_views
from varlite.evaluation.judges.token_histogram import TokenHistogram, token_view
from varlite.evaluation.judges.verdict import Report, Score
from varlite.experiments import tuning
from varlite.experiments.tuning import HAD_A_PART, TEST, TUNED_BY, VALIDATION, before_half, best, lines, tune

GRID = [{"cfg": 0.0, "top_p": 0.0}, {"cfg": 1.5, "top_p": 0.96}]


@pytest.fixture(scope="module")
def panel():
    tokenizer, test = load("fashion-var-d4")[1], FashionMNIST("test")
    views = {"pixels": pixels} | token_view(tokenizer) | projection_views(1, (28, 28))
    halves = [Pictures(test.all_images[a:b], test.labels[a:b], views, real=True) for a, b in ((0, 200), (200, 240))]
    return Panel([SlicedWasserstein("sw_pixels"), SlicedWasserstein("sw_patches"), TokenHistogram(tokenizer)], *halves)


def test_the_choice_is_resumed_tested_with_another_seed_and_printed(panel, monkeypatch):
    found, kept, drawn = {}, [], []
    draw_set = tuning.draw_set

    def watched(model, tokenizer, views, num, seed, **settings):
        drawn.append((seed, settings))
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw_set(model, tokenizer, views, num, seed, **settings)

    monkeypatch.setattr(tuning, "draw_set", watched)
    # A judge without a vote in the choice is left for the test.
    monkeypatch.setattr(tuning, "HAD_A_PART", frozenset({"tokens"}))
    with pytest.raises(KeyboardInterrupt):
        tune("fashion-var-d4", 40, found, lambda: kept.append(1), GRID, panel, panel)
    assert list(found["validation"]) == ["cfg 0, top-p 0"] and len(kept) == 1
    tune("fashion-var-d4", 40, found, lambda: kept.append(1), GRID, panel, panel)
    assert [seed for seed, _ in drawn] == [0, 0, 0, 1, 1] and found["chosen"] in GRID
    assert found["test"]["default"]["cfg"] == 1.5 and set(found["best_by"]) == {"sw_pixels", "sw_patches", "tokens"}
    assert found["test"]["chosen"]["panel"]["chosen_with"] == ["tokens"] and found["verdict"].startswith("by 2 judges")
    tune("fashion-var-d4", 40, found, lambda: kept.append(1), GRID, panel, panel)
    assert len(drawn) == 5
    shown = lines(found)
    assert len(shown) == 7 and shown[-2] == f"chosen: {tuning.named(found['chosen'])}" and "alone would" in shown[2]


def test_no_picture_of_the_test_is_in_the_validation_half_and_judges_that_choose_do_not_judge(monkeypatch):
    assert len(VALIDATION) == len(TEST) == 5000 and not set(VALIDATION.tolist()) & set(TEST.tolist())
    assert FashionMNIST("test").labels[VALIDATION].bincount().min() > 450
    rows = []
    monkeypatch.setattr(jury, "open_judges", lambda tokenizer, training, imagenet: [SlicedWasserstein("sw_pixels")])
    pictures = Pictures(torch.zeros(10_000, 1, 28, 28).byte(), None, {})
    monkeypatch.setattr(jury, "fashion_pictures", lambda num, views: (pictures, pictures, pictures))
    monkeypatch.setattr(pictures, "part", lambda given: rows.append(given) or pictures)
    assert [judge.name for judge in before_half(load("fashion-var-d4")[1], 40).judges] == ["sw_pixels"]
    assert torch.equal(rows[0], VALIDATION) and set(TUNED_BY) < HAD_A_PART and "kid_imagenet" not in HAD_A_PART


def test_each_judge_has_a_choice_of_its_own():
    def report(a, b):
        return Report(9, {"tokens": Score(a, a, a, 1, 1), "recall": Score(b, b, b, 9, 1, lower_is_better=False)})

    reports = {"x": report(2.0, 3.0), "y": report(3.0, 5.0)}
    assert (best(reports, "tokens"), best(reports, "recall")) == ("x", "y")
