import dataclasses
import json

import pytest
import torch

from varlite.evaluation.judges.interface import Judge, Pictures, pixels
from varlite.evaluation.judges.jury import ask, fashion_pictures
from varlite.evaluation.judges.verdict import CHOSEN_WITH, Report, Score, beats, verdict


class Brightness(Judge):
    """How far the mean of samples is from the reference's."""

    name, sees = "brightness", "brightness"

    def rows(self, pictures):
        return pictures.view("pixels").mean((1, 2, 3))[:, None]

    def score(self, samples, reference):
        return abs(samples.mean() - reference.mean()).item()


class Lacking(Brightness):
    name = "lacking"

    def rows(self, pictures):
        raise ValueError("lacking: its package is not installed")


def pictures(offset, seed, n=200):
    images = torch.randint(0, 100, (n, 1, 5, 5), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return Pictures(images + offset, None, {"pixels": pixels})


def score(value, half=0.1, lower_is_better=True):
    return Score(value, value - half, value + half, None, lower_is_better)


def report(num=100, **scores):
    return Report(num, scores, {})


def test_every_score_has_its_interval_and_floor_and_a_judge_that_cannot_says_why():
    found = ask([Brightness(), Lacking()], pictures(50, 0), pictures(0, 1, 500), pictures(0, 2))
    bright = found.scores["brightness"]
    assert bright.low < bright.value < bright.high and bright.value == pytest.approx(50 / 255, abs=0.02)
    assert bright.floor < 0.02 and bright.low > 0.15
    assert found.left_out == {"lacking": "lacking: its package is not installed"} and found.num == 200
    assert json.loads(json.dumps(found.record()))["scores"]["brightness"]["value"] == bright.value


def test_the_same_samples_score_the_same_to_the_last_digit():
    first, again = (ask([Brightness()], pictures(9, 0), pictures(0, 1), pictures(0, 2)) for _ in range(2))
    assert dataclasses.asdict(first) == dataclasses.asdict(again)


def test_a_set_that_is_better_by_the_first_classifier_alone_loses():
    plain = report(fd_first=score(2.9), recall_first=score(0.5, lower_is_better=False), tokens=score(0.1, 0.01),
                   sw_patches=score(1.0), fd_second=score(1.0))  # fmt: skip
    tuned = report(fd_first=score(2.2), recall_first=score(0.7, lower_is_better=False), tokens=score(0.4, 0.01),
                   sw_patches=score(1.6), fd_second=score(1.05))  # fmt: skip
    assert verdict({"tuned": tuned, "plain": plain}) == [
        ("plain", pytest.approx(3.5 / 3)),
        ("tuned", pytest.approx(5.5 / 3)),
    ]
    assert dict(verdict({"tuned": tuned, "plain": plain}, chosen_with=())) == {"plain": 1.5, "tuned": 1.5}
    assert verdict({"tuned": tuned, "plain": plain}, chosen_with={"tokens", "sw_patches"})[0][0] == "tuned"
    assert {"fd_first", "recall_first"} <= CHOSEN_WITH


def test_differences_within_the_intervals_decide_nothing():
    assert beats(score(1.0), score(1.1)) == 0.5 and beats(score(1.0), score(1.2)) == 1 == 1 - beats(
        score(1.2), score(1.0)
    )
    assert beats(score(1.0, lower_is_better=False), score(1.2, lower_is_better=False)) == 0
    far, near = (dataclasses.replace(score(value, 0.01), floor=0.5) for value in (-1.0, 0.4))
    assert beats(far, near) == 0.5 and beats(near, score(0.6, 0.01)) == 1  # better than real pictures is no merit
    ranks = dict(verdict({name: report(tokens=score(1.0)) for name in "abc"}))
    assert ranks == {"a": 2, "b": 2, "c": 2}


def test_three_sets_are_ordered_and_only_judges_of_all_sets_vote():
    sets = {
        "worst": report(tokens=score(3)),
        "best": report(tokens=score(1), sw_pixels=score(9)),
        "middle": report(tokens=score(2), sw_pixels=score(1)),
    }
    assert verdict(sets) == [("best", 1), ("middle", 2), ("worst", 3)]


def test_a_verdict_without_voters_or_over_unequal_numbers_is_refused():
    with pytest.raises(ValueError, match="no judge is left that scored every set"):
        verdict({"a": report(fd_first=score(1)), "b": report(fd_first=score(2))})
    with pytest.raises(ValueError, match=r"depend on the number of images; the sets have \[100, 200\]"):
        verdict({"a": report(tokens=score(1)), "b": report(200, tokens=score(2))})


def test_images_that_are_not_bytes_and_labels_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, channels, H, W\), got torch.float32"):
        Pictures(torch.zeros(2, 1, 3, 3), None, {})
    with pytest.raises(ValueError, match=r"labels must be one for each of the 2 images, got \(3,\)"):
        Pictures(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3), {})
    with pytest.raises(ValueError, match="view: 'tokens' was not opened; there are pixels"):
        pictures(0, 0).view("tokens")


def test_a_view_is_computed_once_in_chunks_and_parts_keep_it(monkeypatch):
    sizes = []

    def view(img):
        sizes.append(len(img))
        return img.float().mean((1, 2, 3))

    monkeypatch.setattr("varlite.evaluation.judges.interface.CHUNK", 80)
    whole = Pictures(pictures(0, 0).images, torch.arange(200), {"mean": view})
    rows = torch.tensor([5, 150])
    assert torch.equal(whole.view("mean")[rows], whole.part(rows).view("mean")) and sizes == [80, 80, 40]
    assert whole.part(rows).labels.tolist() == [5, 150]


def test_the_reference_is_the_test_set_and_real_pictures_are_even_over_classes():
    reference, real, training = fashion_pictures(300, {"pixels": pixels})
    assert len(reference) == 10000 and len(training) == 60000 and real.labels.bincount().tolist() == [30] * 10
    assert torch.equal(fashion_pictures(20, {})[1].images, real.images[:20]) and reference.real and real.real
    with pytest.raises(ValueError, match="num must be between 10 and 60000, got 70000"):
        fashion_pictures(70000, {})
