import math
from dataclasses import replace

import pytest
import torch

from varlite.datasets.pixels import to_bytes
from varlite.datasets.rendering import render
from varlite.datasets.scenes import HELD_OUT, HUES, Thing, sample
from varlite.datasets.shapes import CLASSES
from varlite.evaluation.judges import truth
from varlite.evaluation.judges.truth import (
    coherence_limit,
    distances,
    held_out_indices,
    judge_samples,
    shares_read,
    variety,
)
from varlite.evaluation.reader import Reading

SCENES = [sample(1, index) for index in range(10)]


def reading(scene, **changes):
    return Reading(scene, scene.things[0].kind, len(scene.things)) if not changes else Reading(scene, **changes)


def with_thing(scene, i, **changes):
    things = list(scene.things)
    things[i] = replace(things[i], **changes)
    return replace(scene, things=tuple(things))


@pytest.fixture(scope="module")
def images():
    return to_bytes(render(SCENES))


def test_held_out_scenes_are_the_first_that_break_the_rule():
    indices = held_out_indices(2, 20)
    breaks = [i for i in range(indices[-1] + 1) if any((t.kind, t.hue) in HELD_OUT for t in sample(2, i, ()).things)]
    assert indices == breaks and len(indices) == 20


def test_a_reading_without_fault_has_every_share_at_one_and_faults_count_where_they_are():
    right = shares_read(SCENES, [reading(scene) for scene in SCENES])
    assert set(right.values()) == {1.0} and {"kind", "hue", "azimuth", "count", "small_kind", "turn"} <= right.keys()
    wrong = [with_thing(scene, 0, hue="red" if scene.things[0].hue != "red" else "blue") for scene in SCENES[:5]]
    assert shares_read(SCENES, [reading(scene) for scene in wrong + SCENES[5:]]) == right | {"hue": 0.5}
    turned = [replace(scene, light=(scene.light[0] + 16, scene.light[1] + 4)) for scene in SCENES]
    assert shares_read(SCENES, [reading(scene) for scene in turned]) == right | {"azimuth": 0.0}


def test_an_object_that_was_not_found_has_no_factor_right():
    scene = next(scene for scene in SCENES if len(scene.things) == 2)
    found = shares_read([scene], [reading(replace(scene, things=scene.things[:1]))])
    assert found["count"] == found["small_kind"] == found["small_place"] == 0 and found["kind"] == found["hue"] == 1


def test_a_true_reading_is_near_and_any_wrong_factor_takes_it_away(images):
    near = distances(images, [reading(scene) for scene in SCENES])
    assert near.max() < 0.005
    scene = next(i for i, scene in enumerate(SCENES) if len(scene.things) > 1)
    other = next(hue for hue in HUES if hue != SCENES[scene].things[1].hue)
    for wrong in (
        with_thing(SCENES[scene], 1, hue=other),
        with_thing(SCENES[scene], 0, x=SCENES[scene].things[0].x + 0.3),
        replace(SCENES[scene], light=(SCENES[scene].light[0] - 60, 50)),
    ):
        assert distances(images[scene : scene + 1], [reading(wrong)]).item() > 0.05


def test_where_readings_disagree_the_distance_is_infinite(images):
    readings = [reading(scene, kind="none", count=1) for scene in SCENES]
    assert distances(images, readings).isinf().all()
    readings[3] = reading(SCENES[3])
    assert distances(images, readings).isfinite().tolist() == [i == 3 for i in range(10)]


def test_the_limit_holds_the_share_of_real_pictures_asked_for(images, monkeypatch):
    readings = [reading(with_thing(scene, 0, x=scene.things[0].x + 0.01 * i)) for i, scene in enumerate(SCENES)]
    monkeypatch.setattr(truth, "read", lambda *_: readings)
    limit = coherence_limit(None, images, 0.8)
    assert (distances(images, readings) <= limit).sum() == 8
    monkeypatch.setattr(truth, "read", lambda *_: [reading(scene, kind="none", count=1) for scene in SCENES])
    with pytest.raises(ValueError, match="real: less than 95% of the 10 pictures can be read as one scene each"):
        coherence_limit(None, images)


def test_samples_are_judged_by_class_agreement_rendering_and_held_out_combinations(images, monkeypatch):
    readings = [reading(scene) for scene in SCENES]
    readings[0] = reading(SCENES[0], kind="none", count=1)  # does not agree
    readings[1] = reading(
        replace(SCENES[1], wall="slate" if SCENES[1].wall != "slate" else "mint")
    )  # not what is there
    monkeypatch.setattr(truth, "read", lambda *_: readings)
    label_N = torch.arange(10)
    label_N[2] = 5  # another class than is shown
    found = judge_samples(None, images, label_N, 0.01)
    assert 0 < found.pop("variety") < 1
    assert found == pytest.approx({"shows_class": 0.9, "agrees": 0.9, "coherent": 0.8, "good": 0.7, "held_out": 0})
    with pytest.raises(ValueError, match="labels must be one for each of the 10 images, got 3"):
        judge_samples(None, images, label_N[:3], 0.01)


def test_the_share_of_held_out_combinations_is_of_good_samples_of_their_classes(monkeypatch):
    torus = Thing("torus", "red", "matt", 1.0, 0, 0, 0)
    scenes = [
        replace(SCENES[0], things=(thing,))
        for thing in (torus, replace(torus, hue="teal"), replace(torus, kind="bowl"))
    ]
    monkeypatch.setattr(truth, "read", lambda *_: [reading(scene) for scene in scenes])
    labels = torch.tensor([CLASSES.index(scene.things[0].kind) for scene in scenes])
    assert judge_samples(None, to_bytes(render(scenes)), labels, 0.01)["held_out"] == 0.5


def test_variety_is_that_of_the_world_for_its_scenes_and_nothing_for_one_picture_repeated():
    assert variety([reading(sample(1, i)) for i in range(2000)]) > 0.995
    assert variety([reading(SCENES[0])] * 5) == 0
    two = [replace(SCENES[0], wall=wall) for wall in ("sand", "mint")]
    assert variety([reading(scene) for scene in two]) == pytest.approx(math.log(2) / math.log(6) / 5)
    assert variety([]) == 0
