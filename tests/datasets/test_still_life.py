import colorsys
from dataclasses import replace
from math import cos, radians, sin
from types import SimpleNamespace

import pytest
import torch

from varlite.datasets import still_life
from varlite.datasets.rendering import render
from varlite.datasets.scenes import AIM, AWAY, HELD_OUT, HUES, MATERIALS, SIDE, TABLES, VIEW, WALLS, apart, sample
from varlite.datasets.shapes import CLASSES, SHAPES
from varlite.datasets.still_life import LargeStillLife, StillLife


@pytest.fixture
def train(tmp_path):
    return StillLife("train", tmp_path)


def only(scene, **changes):
    """The main object alone, changed."""
    return replace(scene, things=(replace(scene.things[0], **changes),))


def pixel(scene, x, y, z):
    """Row and column at which a point of the world is seen."""
    c, s = cos(radians(scene.camera)), sin(radians(scene.camera))
    y, z = y - AIM[0], z - AIM[1]
    depth = AWAY + c * y - s * z
    return (int((1 - v / depth / VIEW) * SIDE / 2) for v in (s * y + c * z, -x))


def nearest_hue(colour):
    hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
    if saturation < 0.15:
        return "white"
    angles = {name: colorsys.rgb_to_hsv(*bytes_)[0] for name, bytes_ in HUES.items() if name != "white"}
    return min(angles, key=lambda name: abs((angles[name] - hue + 0.5) % 1 - 0.5))


# Scenes


def test_a_scene_follows_from_seed_and_index_alone():
    assert sample(3, 5) == sample(3, 5)
    assert len({sample(seed, index) for seed in (3, 4) for index in (5, 15)}) == 4


def test_an_image_has_the_class_of_its_main_object(train):
    assert train.labels.bincount().tolist() == [6000] * 10 and train.labels.dtype == torch.int64
    assert all(train.factors(i).things[0].kind == train.classes[train.labels[i]] for i in range(20))


def test_the_large_world_begins_with_the_same_scenes_and_is_tested_on_the_same():
    large, usual = (world("train") for world in (LargeStillLife, StillLife))
    assert len(large.labels) == 4 * len(usual.labels) and large.checksum != usual.checksum
    assert large.factors(59_999) == usual.factors(59_999)
    assert LargeStillLife("test").checksum == StillLife("test").checksum


def test_every_factor_takes_all_its_values():
    scenes = [sample(0, i) for i in range(1000)]
    things = [thing for scene in scenes for thing in scene.things]
    assert {len(scene.things) for scene in scenes} == {1, 2, 3}
    assert {scene.wall for scene in scenes} == set(WALLS) and {scene.table for scene in scenes} == set(TABLES)
    assert {t.hue for t in things} == set(HUES) and {t.material for t in things} == set(MATERIALS)
    assert {t.kind for scene in scenes for t in scene.things[1:]} == set(CLASSES)


def test_no_object_has_a_combination_held_out_unless_asked():
    def combinations(held_out):
        return {(t.kind, t.hue) for i in range(3000) for t in sample(0, i, held_out).things}

    assert not combinations(HELD_OUT) & HELD_OUT
    assert len(combinations(())) == len(CLASSES) * len(HUES)


def test_companions_are_smaller_and_stand_apart():
    for things in (sample(1, i).things for i in range(300)):
        assert all(t.size < 0.6 * things[0].size for t in things[1:])
        assert all(apart(a, b) for i, a in enumerate(things) for b in things[:i])


# Pictures


@pytest.mark.parametrize("name", CLASSES)
def test_a_solid_stands_on_the_table_and_fills_its_sphere(name):
    kind = SHAPES[name]
    points = torch.rand(3, 200_000, generator=torch.Generator().manual_seed(0)) * 3 - torch.tensor(
        [[1.5], [1.5], [0.5]]
    )
    x, y, z = points
    solid = kind.distance(x, y, z) < 0
    away = ((x**2 + y**2 + (z - kind.middle) ** 2).sqrt())[solid]
    assert -0.01 < z[solid].min() < 0.06
    assert kind.radius - 0.12 < away.max() < kind.radius + 0.01
    assert abs((x**2 + y**2).sqrt()[solid].max() - kind.width) < 0.08


@pytest.mark.parametrize("name", CLASSES)
def test_a_distance_never_says_more_than_the_way_there_is(name):
    a, b = torch.rand(2, 3, 100_000, generator=torch.Generator().manual_seed(0)) * 3 - 1
    change = (SHAPES[name].distance(*a) - SHAPES[name].distance(*b)).abs()
    assert (change / (a - b).norm(dim=0)).max() < 1.05


def test_a_picture_is_the_same_in_any_batch():
    scenes = [sample(7, i) for i in range(10)]
    together = render(scenes)
    assert together.shape == (10, 3, 64, 64) and together.min() >= 0 and together.max() <= 1
    assert torch.equal(together, render(scenes, batch=3))
    assert torch.equal(together[4:5], render(scenes[4:5]))
    assert render([]).shape == (0, 3, 64, 64)


def test_a_table_without_an_object_is_rendered_alone_and_beside_others():
    empty = replace(sample(7, 0), things=())
    alone = render([empty])
    assert torch.equal(alone, render([sample(7, 1), empty])[1:])
    assert alone.var(dim=3).max() < 1e-4 < alone.var(dim=2).min()  # wall above table, the same from left to right


def test_the_middle_of_an_object_has_its_hue():
    whole = [i for i, name in enumerate(CLASSES) if name not in ("torus", "arch")]  # those have a hole there
    scenes = [only(sample(2, 10 * i + c, ()), material="matt") for i in range(10) for c in whole]
    for scene, picture in zip(scenes, render(scenes), strict=True):
        main = scene.things[0]
        row, column = pixel(scene, main.x, main.y, main.size * SHAPES[main.kind].middle)
        assert nearest_hue(picture[:, row, column].tolist()) == main.hue, scene


def test_a_combination_held_out_can_be_rendered():
    scene = only(sample(0, CLASSES.index("torus")), hue="red", material="matt", x=0.0, y=0.0, turn=0.0, size=1.0)
    row, column = pixel(scene, 0, 0, 1.54)  # on top of the ring
    assert nearest_hue(render([scene])[0, :, row, column].tolist()) == "red"


def test_what_is_seen_through_a_torus_is_not_the_torus():
    scene = only(sample(0, 4), hue="red", material="matt", x=0.0, y=0.0, turn=0.0, size=1.0)
    row, column = pixel(scene, 0, 0, 0.92)
    red, green, _ = render([scene])[0, :, row, column].tolist()
    assert red < 1.5 * green


def test_shadows_fall_away_from_the_light():
    scene = only(sample(0, 0), x=0.0, y=0.0, size=1.0)
    left, right = render([replace(scene, light=(azimuth, 45), table="linen", wall="sand") for azimuth in (-70, 70)])
    row, column = pixel(scene, 1.3, 0.2, 0)
    assert left[0, row, column] < 0.9 * right[0, row, column]
    assert right[0, row, 63 - column] < 0.9 * left[0, row, 63 - column]


def test_stripes_are_of_two_colours_and_gloss_shows_the_lamp():
    scene = replace(only(sample(0, 0), hue="blue", x=0.0, y=0.0, size=1.0), light=(0, 45))
    matt, glossy, striped = render([only(scene, material=material) for material in MATERIALS])[:, :, 14:46, 32]
    assert matt[0].max() < 0.6 and glossy[0].max() > 0.9
    assert {nearest_hue(colour) for colour in striped.T.tolist()} >= {"blue", "white"}


# The dataset


def test_images_are_bytes_of_the_scenes_they_are_asked_for(train):
    indices = torch.tensor([7, 3, 7, 59_999])
    images = train.images(indices)
    assert images.dtype == torch.uint8 and images.shape == (4, 3, 64, 64)
    expected = (train.render([train.factors(i) for i in indices.tolist()]) * 255).round()
    assert torch.equal(images.float(), expected)


def test_the_splits_differ(train, tmp_path):
    test = StillLife("test", tmp_path)
    assert len(test.labels) == 5000 and test.checksum != train.checksum
    indices = torch.arange(10)
    assert (train.images(indices) != test.images(indices)).flatten(1).any(1).all()


def test_what_was_rendered_is_kept(train, tmp_path, monkeypatch):
    images = train.images(torch.tensor([1, 2]))
    rendered = []
    monkeypatch.setattr(still_life, "render", lambda scenes: rendered.extend(scenes) or render(scenes))
    again = StillLife("train", tmp_path)
    assert torch.equal(again.images(torch.tensor([2, 1])), images.flip(0)) and not rendered
    again.images(torch.tensor([1, 4, 2, 4]))
    assert rendered == [train.factors(4)]


def test_a_full_disk_is_told_instead_of_ending_the_process(tmp_path, monkeypatch):
    train = StillLife("train", tmp_path)
    train.images(torch.tensor([1]))
    monkeypatch.setattr(still_life.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    train.images(torch.tensor([1]))
    with pytest.raises(OSError, match="No space left on device"):
        train.images(torch.tensor([1, 2]))


def test_a_dataset_first_used_in_inference_mode_can_be_used_outside_it(tmp_path):
    test = StillLife("test", root=tmp_path)
    with torch.inference_mode():
        first = test.images(torch.tensor([0]))
    assert torch.equal(test.images(torch.tensor([0, 1]))[:1], first)


def test_negative_indices_count_from_the_end_and_others_are_refused(tmp_path):
    test = StillLife("test", root=tmp_path)
    assert torch.equal(test.images(torch.tensor([-1])), test.images(torch.tensor([4999])))
    assert torch.equal(
        test.images(torch.tensor([4999])), StillLife("test", tmp_path / "other").images(torch.tensor([4999]))
    )
    with pytest.raises(IndexError, match=r"indices must lie in 0 .. 4999, got 0 to 5000"):
        test.images(torch.tensor([0, 5000]))


def test_an_image_that_was_broken_off_is_rendered_anew(train, tmp_path):
    images = train.images(torch.tensor([6]))
    train.all_images.pixels[6, :, 20:] = 0
    train.all_images.marks[6] = 0
    assert torch.equal(StillLife("train", tmp_path).images(torch.tensor([6])), images)


def test_other_held_out_combinations_are_another_dataset(train, tmp_path):
    everything = StillLife("train", tmp_path, held_out=())
    assert everything.checksum != train.checksum and everything.root != train.root


def test_images_are_resized_and_made_grey(tmp_path):
    small = StillLife("test", tmp_path, (32, 32), 1)
    assert small.images(torch.tensor([0, 1])).shape == (2, 1, 32, 32)
    assert small.skipped == {}
