"""Zero-shot edits of still life: what is wanted, what is painted over, and what the judges say of it."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from examples import tiny_tokenizer, tiny_var

from varlite.datasets.pixels import to_bytes
from varlite.datasets.rendering import render
from varlite.datasets.scenes import HELD_OUT, HUES, SIDE, Scene, Thing, apart, sample
from varlite.datasets.shapes import CLASSES
from varlite.evaluation.reader import Reading
from varlite.experiments import still_edits
from varlite.experiments.still_edits import TASKS, Case, edit_cases, errors, judge_pixels, marks, report, shares
from varlite.experiments.still_masks import VISIBLE

SCALES = [1, 2, 4, 8]


@cache
def pair():
    """A tiny model of 64 x 64 in colour, and its tokenizer."""
    tokenizer = tiny_tokenizer(
        channels=3, scales=SCALES, multipliers=(1, 1, 1, 1), encoder_blocks=(0,) * 4, decoder_blocks=(0,) * 4
    )
    return tiny_var(scales=SCALES), tokenizer


@cache
def cases(name: str, num: int = 4) -> list[Case]:
    return TASKS[name].cases(num)


def reading(scene: Scene) -> Reading:
    return Reading(scene, scene.things[0].kind, len(scene.things))


def test_what_is_to_be_removed_is_the_last_companion_and_nothing_else_changes():
    for case in cases("remove"):
        assert len(case.scene.things) > 1
        assert case.wanted == replace(case.scene, things=case.scene.things[:-1])
        assert torch.equal(case.img_3HW, to_bytes(render([case.scene]))[0])
        assert torch.equal(case.truth_3HW, to_bytes(render([case.wanted]))[0])
        assert case.label == CLASSES.index(case.scene.things[0].kind)


def test_the_paint_covers_the_object_with_its_shadow_and_little_more():
    for case in cases("remove"):
        differ_HW = (case.img_3HW.int() - case.truth_3HW.int()).abs().amax(0)
        assert differ_HW[case.keep_HW].max() <= VISIBLE
        assert 0 < (~case.keep_HW).sum() < 0.25 * SIDE**2
        near = torch.nn.functional.max_pool2d((differ_HW > VISIBLE)[None].float(), 5, 1, 2)[0] > 0
        assert torch.equal(near, ~case.keep_HW)


def test_a_swap_keeps_the_colour_has_room_and_its_box_holds_both_objects():
    for case in cases("swap"):
        (old, *others), (new, *same) = case.scene.things, case.wanted.things
        assert others == same and new == replace(old, kind=new.kind) and new.kind != old.kind
        assert (new.kind, new.hue) not in HELD_OUT and all(apart(new, other) for other in others)
        assert case.label == CLASSES.index(new.kind)
        differ_HW = (case.img_3HW.int() - case.truth_3HW.int()).abs().amax(0)
        assert differ_HW[case.keep_HW].max() <= VISIBLE
        rows, columns = ((~case.keep_HW).any(axis).nonzero() for axis in (1, 0))
        inside = case.keep_HW[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert not inside.any()  # a box: its outline does not tell the class


def test_classes_take_turns_in_swaps():
    scenes = [sample(1, index) for index in range(0, 90, 10)]
    swaps = [still_edits.with_another_class(10 * i, scene) for i, scene in enumerate(scenes)]
    assert len({wanted.things[0].kind for wanted, _ in filter(None, swaps)}) >= 6


def test_of_an_extended_picture_the_left_half_is_known_and_the_count_is_not():
    for case in cases("extend"):
        assert case.keep_HW[:, : SIDE // 2].all() and not case.keep_HW[:, SIDE // 2 :].any()
        assert case.wanted == case.scene
        assert all(thing.x < 0.1 for thing in case.known())
        assert "count" not in marks(case, reading(case.scene))


def with_main(scene: Scene, **changes) -> Scene:
    return replace(scene, things=(replace(scene.things[0], **changes), *scene.things[1:]))


def test_a_perfect_edit_has_every_mark_and_each_fault_takes_its_own():
    scene = Scene(
        (Thing("cube", "red", "matt", 1.0, 0, 0, 0), Thing("pear", "teal", "matt", 0.4, -1.3, 0, 0)),
        (0, 50), 28, "sand", "oak",
    )  # fmt: skip
    blank = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    case = Case(scene, scene, blank, blank, torch.ones(SIDE, SIDE, dtype=torch.bool))
    assert marks(case, reading(scene)) == dict.fromkeys(still_edits.READ, True)

    def faults(found: Scene) -> set[str]:
        return {name for name, right in marks(case, reading(found)).items() if not right}

    assert faults(with_main(scene, hue="blue")) == {"hue"}
    assert faults(with_main(scene, kind="bowl", material="glossy")) == {"kind", "material"}
    assert faults(replace(scene, wall="mint", table="sage")) == {"wall", "table"}
    assert faults(replace(scene, light=(20, 50))) == {"light"} and faults(replace(scene, light=(5, 52))) == set()
    assert faults(replace(scene, camera=32)) == {"camera"}
    moved = replace(scene.things[1], x=1.0)
    assert faults(replace(scene, things=(scene.things[0], moved))) == {"companions"}
    assert faults(replace(scene, things=(*scene.things, replace(moved, y=0.5)))) == {"count"}
    assert marks(case, Reading(scene, "bowl", 2))["agrees"] is False
    nothing = marks(case, Reading(replace(scene, things=()), "cube", 1))
    assert not any(nothing[name] for name in ("kind", "hue", "material", "companions", "count", "agrees"))


def test_a_companion_that_was_painted_over_is_not_asked_for():
    scene = sample(1, next(i for i in range(50) if len(sample(1, i).things) == 2))
    blank, keep = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8), torch.zeros(SIDE, SIDE, dtype=torch.bool)
    assert not {"companions", "count"} & marks(Case(scene, scene, blank, blank, keep), reading(scene)).keys()


def test_shares_come_with_their_interval_and_the_number_of_pictures_that_were_asked():
    some = cases("remove")
    others = [reading(with_main(case.wanted, hue="red")) for case in some[:1]]
    some = [replace(case, wanted=with_main(case.wanted, hue="blue")) for case in some]
    found = shares(some, others + [reading(case.wanted) for case in some[1:]])
    assert found["hue"]["share"] == found["all"]["share"] == 0.75 and found["kind"]["share"] == 1
    assert found["hue"]["num"] == 4 and found["hue"]["interval"] == pytest.approx([0.3006, 0.9544], abs=1e-4)
    assert set(HUES) > {"red", "blue"} and found["count"]["share"] == 1


def test_pixels_are_held_against_the_wanted_scene_where_they_were_repainted():
    some = cases("remove")
    truths = torch.stack([case.truth_3HW for case in some])
    assert errors(truths, some).max() == 0
    keep = torch.stack([case.keep_HW for case in some])[:, None]
    assert errors(torch.where(keep, 255 - truths, truths), some).max() == 0  # elsewhere nothing counts
    assert errors(truths.int() - 51, some) == pytest.approx(torch.full((4,), 0.2), abs=1e-4)
    found = judge_pixels(some, pair()[1], truths)
    assert found["rms"]["edits"] == [0, 0, 0] and found["nearer"]["share"] == 1
    mean, low, high = found["rms"]["left in"]
    assert low < mean < high and mean > 0.05
    assert found["rms"]["smooth fill"][0] < mean  # without a model


def test_an_edit_changes_nothing_that_is_kept_and_depends_on_its_number():
    some = cases("remove")
    edits = edit_cases(*pair(), some, TASKS["remove in one pass"].settings)
    far = torch.nn.functional.max_pool2d((~some[0].keep_HW)[None].float(), 9, 1, 4)[0] == 0
    assert torch.equal(edits[0][:, far], some[0].img_3HW[:, far])
    assert not torch.equal(edits[0], some[0].img_3HW)
    assert torch.equal(edit_cases(*pair(), some[:2], TASKS["remove in one pass"].settings), edits[:2])


def test_a_task_with_candidates_is_refined():
    some, settings = cases("remove")[:1], TASKS["remove"].settings | {"candidates": 1}
    edits = edit_cases(*pair(), some, settings)
    far = torch.nn.functional.max_pool2d((~some[0].keep_HW)[None].float(), 9, 1, 4)[0] == 0
    assert torch.equal(edits[0][:, far], some[0].img_3HW[:, far])
    assert not torch.equal(edits, edit_cases(*pair(), some, TASKS["remove in one pass"].settings))


def test_every_task_is_judged_written_and_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(still_edits, "load", lambda name, device: pair())
    monkeypatch.setattr(still_edits, "load_reader", lambda path: None)
    monkeypatch.setattr(still_edits, "shipped", lambda name: tmp_path / "weights")
    monkeypatch.setattr(still_edits, "weights_file", lambda name: tmp_path / "weights")
    (tmp_path / "weights").write_bytes(b"of both")
    monkeypatch.setattr(still_edits, "read", lambda reader, img: [reading(sample(1, i)) for i in range(len(img))])
    record = still_edits.reproduce_still(tmp_path, 2)
    assert json.loads((tmp_path / "still.json").read_text()) == record
    once = [f"{name} in one pass" for name in ("remove", "extend", "swap")]
    assert list(record["tasks"]) == ["remove", "extend", "swap", *once, "swap as published"]
    assert [name for name, task in record["tasks"].items() if "rms" in task] == ["remove", "remove in one pass"]
    assert record["tasks"]["extend"]["read"]["edits"]["all"]["share"] == 1  # scenes 0 and 1, as they were read
    assert record["tasks"]["swap"]["read"]["edits"]["kind"]["share"] == 0
    assert record["command"] == "varlite reproduce still --num 2 --seed 0 --model still-var-d6"
    from varlite.io.pictures import read_png

    assert read_png(tmp_path / "still_edits.png").shape == (3, 15 * 66 + 2, 2 * 66 + 2)
    report(record)
    out = capsys.readouterr().out
    assert "remove, 2 pictures" in out and "pixels off by edits 0." in out and "100% (34% .. 100%)" in out
    with pytest.raises(ValueError, match="num must be at least 2"):
        still_edits.reproduce_still(tmp_path, 1)
