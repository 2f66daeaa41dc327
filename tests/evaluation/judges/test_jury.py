import dataclasses
import json

import pytest
import torch

from varlite.evaluation.judges.interface import Judge, KeptView, Pictures, pixels
from varlite.evaluation.judges.jury import ask, fashion_pictures


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


def test_every_score_has_its_interval_and_floor_and_a_judge_that_cannot_says_why():
    found = ask([Brightness(), Lacking()], pictures(50, 0), pictures(0, 1, 500), pictures(0, 2))
    bright = found.scores["brightness"]
    assert bright.low < bright.value < bright.high and bright.value == pytest.approx(50 / 255, abs=0.02)
    assert bright.floor < 0.02 < 0.15 < bright.low and 0 < bright.floor_half < 0.02 and bright.away().value > 5
    assert found.left_out == {"lacking": "lacking: its package is not installed"} and found.num == 200
    assert json.loads(json.dumps(found.record()))["scores"]["brightness"]["value"] == pytest.approx(
        bright.value, rel=1e-5
    )


def test_the_same_samples_score_the_same_to_the_last_digit():
    first, again = (ask([Brightness()], pictures(9, 0), pictures(0, 1), pictures(0, 2)) for _ in range(2))
    assert dataclasses.asdict(first) == dataclasses.asdict(again)


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


def test_views_of_shared_pictures_are_kept_on_disk_by_images_and_by_what_they_depend_on(tmp_path, monkeypatch):
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path))
    made = []

    def mean(img):
        made.append(len(img))
        return img.float().mean((1, 2, 3))

    images = pictures(0, 0).images
    first, again, other_key, other_images, unnamed = (
        Pictures(x, None, {"mean": KeptView(mean, key)}, checksum=checksum)
        for x, key, checksum in (
            (images, "a", "c"), (images, "a", "c"), (images, "b", "c"), (images[:9], "a", "d"), (images, "a", ""),
        )
    )  # fmt: skip
    assert torch.equal(first.view("mean"), again.view("mean")) and made == [200]
    part = torch.tensor([3, 5])
    assert torch.equal(first.part(part).view("mean"), other_key.view("mean")[part]) and made == [200, 200]
    other_images.view("mean"), unnamed.view("mean")
    assert made == [200, 200, 9, 200] and len(list((tmp_path / "views").iterdir())) == 3
    for _ in range(2):
        fresh = Pictures(images, None, {"mean": KeptView(mean, "a")}, checksum="c").part(part)
        assert fresh.view("mean").tolist() == first.view("mean")[part].tolist()
    assert made[4:] == [2] and len(list((tmp_path / "views").iterdir())) == 4


def test_the_reference_is_the_test_set_and_real_pictures_are_even_over_classes():
    reference, real, training = fashion_pictures(300, {"pixels": pixels})
    assert len(reference) == 10000 and len(training) == 60000 and real.labels.bincount().tolist() == [30] * 10
    assert torch.equal(fashion_pictures(20, {})[1].images, real.images[:20]) and reference.real and real.real
    with pytest.raises(ValueError, match="num must be between 10 and 60000, got 70000"):
        fashion_pictures(70000, {})
