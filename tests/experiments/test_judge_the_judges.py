"""The judges judged: the committed table keeps its order, judges say where they are blind, a small table is new."""

import json

import pytest

from varlite.checkpoints.load import load_tokenizer
from varlite.evaluation.judges import (
    diversity,
    frechet,
    imagenet_kid,
    memorising,
    sliced_wasserstein,
    token_histogram,
)
from varlite.evaluation.judges.interface import pixels
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, projection_views
from varlite.evaluation.judges.token_histogram import token_view
from varlite.evaluation.judges.verdict import CHOSEN_WITH
from varlite.experiments import judge_the_judges
from varlite.experiments.corruptions import CORRUPTIONS
from varlite.experiments.judge_the_judges import REAL, cut, one_seed, sees, strengths_of
from varlite.io.places import RESULTS

JUDGES = json.loads((RESULTS / "judges.json").read_text())
TABLE = JUDGES["table"]
BLIND = frechet.BLIND | sliced_wasserstein.BLIND | memorising.BLIND | diversity.BLIND | token_histogram.BLIND
BLIND |= {"kid_imagenet": imagenet_kid.ImageNetKID.blind}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_scores_get_worse_with_every_strength_or_the_judge_says_that_it_is_blind(corruption):
    for judge, entry in ((name, x) for name, x in TABLE[corruption].items() if name != "strengths"):
        assert entry["sees"] == (corruption not in BLIND[judge]), (judge, corruption)
        ladder = TABLE[REAL][judge]["scores"] + entry["scores"]
        assert entry["sees"] == sees(JUDGES["judges"][judge]["lower_is_better"], ladder)


def test_every_corruption_is_seen_by_some_judge_that_nothing_was_chosen_by():
    for corruption in CORRUPTIONS:
        assert [j for j in TABLE[corruption].keys() - CHOSEN_WITH - {"strengths"} if TABLE[corruption][j]["sees"]]


def test_the_table_says_how_it_was_made():
    assert JUDGES["command"].startswith("varlite reproduce judges") and len(JUDGES["seeds"]) > 1
    assert JUDGES["num"] >= 500 and "torch" in JUDGES["machine"] and JUDGES["versions"]["torch"]


def test_a_small_table_made_now_puts_blur_and_noise_behind_real_pictures():
    views = {"pixels": pixels} | projection_views(1, (28, 28))
    judges = [SlicedWasserstein("sw_patches"), diversity.WithinClass("nearest", "pixels")]
    found = one_seed(0, 200, 400, judges, views)
    for corruption, judge in (("blur", "sw_patches"), ("noise", "sw_patches"), ("duplicated", "nearest_pixels")):
        scores = [x[judge] for x in found[REAL] + found[corruption]]
        assert scores == sorted(scores) and scores[-1] > 2 * scores[0]


def test_corrupted_pictures_are_in_neither_the_reference_nor_the_spares_and_classes_are_even():
    material, held, labels = cut(1, 300, 2000)
    keys = [{x.numpy().tobytes() for x in images} for images in (material.images, material.spare, held)]
    assert len(keys[0] | keys[1] | keys[2]) > 0.999 * 2600 and material.labels.bincount().tolist() == [30] * 10
    assert len(held) == len(labels) == 2000
    with pytest.raises(ValueError, match="2 num \\+ reference at most 10000, got 3000 and a reference of 6000"):
        cut(0, 3000, 6000)


def test_samples_are_drawn_anew_for_each_seed_and_judged_with_the_tokens_drawn(monkeypatch):
    monkeypatch.setattr(judge_the_judges, "SSG_STRENGTHS", (0, 0.6))
    monkeypatch.setattr(judge_the_judges, "CORRUPTIONS", {})
    tokenizer = load_tokenizer("fashion-vq")
    views = token_view(tokenizer) | projection_views(1, (28, 28))
    judges = [SlicedWasserstein("sw_pixels"), token_histogram.TokenHistogram(tokenizer, drawn=True)]
    first, other = (one_seed(seed, 100, 200, judges, views, "fashion-var-d4")["ssg"] for seed in (0, 1))
    assert len(first) == 2 and set(first[0]) == {"sw_pixels", "drawn_tokens"}
    assert first[0] != first[1] and first[0]["sw_pixels"] != other[0]["sw_pixels"]
    assert strengths_of("ssg") == (0, 0.6) and strengths_of(REAL) == (0,)


def test_a_judge_sees_what_grows_with_strength_beyond_the_noise():
    assert sees(True, [[1.0, 1.2], [1.4, 1.5], [2.0, 2.1]])
    assert sees(True, [[1.0, 1.2], [2.1, 2.3], [2.0, 2.2]])  # saturated
    assert not sees(True, [[1.0, 1.2], [1.2, 1.4], [1.3, 1.4]])  # within three deviations
    assert not sees(True, [[1.0, 1.2], [3.1, 3.2], [2.0, 2.1]])  # not in order
    assert not sees(True, [[1.0, 1.2], [1.4, 1.5], [1.1, 5.0]])  # one seed among the real ones
    assert sees(False, [[0.9, 0.92], [0.5, 0.55], [0.0, 0.0]])
