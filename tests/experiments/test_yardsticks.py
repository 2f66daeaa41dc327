"""Pictures that no model drew, as yardsticks of scores."""

import json

import pytest
import torch

from varlite.experiments import yardsticks
from varlite.experiments.corruptions import Material
from varlite.experiments.yardsticks import ROWS, parrot, reproduce_yardsticks, training_pictures
from varlite.io.places import RESULTS


@pytest.fixture(scope="module")
def material():
    def images(n, seed):
        return torch.randint(0, 256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)

    labels = torch.arange(100) % 10
    return Material(
        images(100, 0), labels, images(100, 1), labels, images(300, 2), torch.arange(300) % 10, seed=0
    )  # fmt: skip


def test_a_parrot_knows_so_many_training_pictures_of_each_class_and_repeats_them_with_faint_noise(material):
    images, labels = parrot(material, 3)
    assert torch.equal(labels, material.labels) and len({x.numpy().tobytes() for x in images}) == 100
    for c in range(10):
        own = material.training[material.training_labels == c].float().flatten(1)
        distance = torch.cdist(images[labels == c].float().flatten(1), own) / 28
        assert distance.min(1).values.max() < 3 and len(distance.argmin(1).unique()) == 3
    assert torch.equal(images, parrot(material, 3)[0])


def test_training_pictures_are_of_their_class_and_none_is_there_twice(material):
    images, labels = training_pictures(material)
    known = {x.numpy().tobytes(): int(c) for x, c in zip(material.training, material.training_labels, strict=True)}
    assert [known[x.numpy().tobytes()] for x in images] == labels.tolist()
    assert len({x.numpy().tobytes() for x in images}) == 100


def test_every_row_is_scored_for_every_seed_and_written(tmp_path, monkeypatch):
    few = {"test pictures": ROWS["test pictures"], "parrot of 3": lambda m: parrot(m, 3)}
    monkeypatch.setattr(yardsticks, "ROWS", few)
    record = reproduce_yardsticks(tmp_path, num=200, reference=500, seeds=(0, 3))
    assert json.loads((tmp_path / "yardsticks.json").read_text()) == record
    assert list(record["runs"]["parrot of 3"]) == ["0", "3"]
    copied, real = (record["rows"][name]["mean"] for name in ("parrot of 3", "test pictures"))
    assert copied["recall"] < 0.05 < 0.6 < real["recall"] and copied["accuracy"] > 0.8
    assert record["command"] == "varlite reproduce yardsticks --num 200 --reference 500 --seeds 0 3"


def test_more_pictures_than_the_test_set_has_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"with 2 num \+ reference at most 10000"):
        reproduce_yardsticks(tmp_path, num=4000, reference=6000)


def test_the_parrot_wins_by_distance_and_has_no_recall_at_all():
    """What ships says so, and what the text says rests on it."""
    rows = json.loads((RESULTS / "yardsticks.json").read_text())["rows"]
    assert set(rows) == set(ROWS)
    assert rows["parrot of 20"]["band"]["fd"][1] < 2.4 and rows["parrot of 20"]["mean"]["recall"] == 0
    assert rows["blur of 0.5"]["mean"]["fd"] > 2 * rows["noise of 5"]["mean"]["fd"]
