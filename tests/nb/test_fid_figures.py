"""The data behind the figures of scores, and that they can be drawn from any results."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from varlite.experiments.paper_tables import read_table
from varlite.nb import fid_figures as figures


def record_of(kind, depth, fd, seconds):
    mean = {"fd": fd, "accuracy": 0.9, "seconds_per_image": seconds}
    about = {"kind": kind, "depth": depth, "parameters": 1000 * depth**3}
    return about | {"mean": mean, "band": {name: [0.9 * x, 1.1 * x] for name, x in mean.items()}}


def texts():
    return [text.get_text() for axis in plt.gcf().axes for text in axis.texts]


def test_published_points_and_ours_stand_in_panels_of_their_own():
    small = {f"fashion-var-d{d}": record_of("var", d, 8 / d, 0.01 * d) for d in (1, 2, 4)}
    small |= {"fashion-raster-d4": record_of("raster", 4, 5, 0.2)}
    small |= {"fashion-vq": {"kind": "tokenizer", "parameters": 1000, "mean": {"fd": 0.5}}}
    data = figures.quality_and_time(read_table("imagenet-256"), small)
    assert data["published"]["var-d30"] == (1, 1.92) and "BigGAN" not in data["published"]
    assert data["published"]["L-DiT-7B"] == (45, 2.28)  # known to be slower than that
    assert data["measured"]["var"]["fashion-var-d4"] == (0.04, 2) and list(data["measured"]) == ["var", "raster"]
    left, right = plt.gcf().axes
    assert left.get_ylabel() == "FID" and "FID" not in right.get_ylabel()
    assert {text.get_text() for text in left.texts} - {""} == set(data["published"])
    assert sorted(text.get_text() for text in right.texts) == ["d1", "d2", "d4", "d4"]


def test_figures_can_be_drawn_before_anything_was_measured():
    assert figures.quality_and_time(read_table("imagenet-256"), {})["measured"] == {}


def test_names_beside_points_do_not_cover_each_other():
    _, axis = plt.subplots()
    axis.plot([0, 1, 1, 1.02], [0, 1, 1.01, 1], "o")
    figures.label_points(axis, [("one", (0, 0)), ("two", (1, 1)), ("three", (1, 1.01)), ("four", (1.02, 1))])
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 4 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_infinitely_many_images_are_where_a_line_in_one_over_n_meets_zero():
    lines = {"biased": {n: 2 + 300 / n for n in (100, 200, 1000)}, "zero": {n: 70 / n for n in (100, 500)}}
    limits = figures.against_number(lines)
    assert limits == {"biased": pytest.approx(2), "zero": pytest.approx(0, abs=1e-9)}


def test_traps_are_drawn_one_by_one_with_their_numbers():
    values = {"JPEG": {"quality 90": 0.5, "quality 75": 1.25}, "classes": {"uneven": 20.0}}
    assert figures.traps(values, ("samples", 3.0)) == values
    assert texts() == ["0.50", "1.25", "20.00"]
    assert plt.gca().get_legend().get_texts()[0].get_text() == "samples"


@pytest.mark.parametrize("dial", ["cfg", "top_k"])
def test_a_dial_is_followed_from_weak_to_strong(dial):
    scores = {"fd": 3.0, "accuracy": 0.9, "precision": 0.8, "recall_within_class": 0.6}
    rows = [scores | {dial: value, "accuracy": 0.5 + i / 10} for i, value in enumerate([5, 0, 1])]
    data = figures.trade_off(rows, dial)
    assert list(data["fd"]) == ([0, 1, 5] if dial == "cfg" else [1, 5, 0])  # top_k 0 keeps all
    assert data["fd"][1] == (0.7, 3.0) and data["recall"][1] == (0.8, 0.6)
    assert ("all" in texts()) == (dial == "top_k")


def test_the_ablation_shows_every_published_value_and_our_range():
    rows = [
        {"row": i, "step": f"step {i}", "mean": {"fd": 10 / i}, "band": {"fd": [9 / i, 11 / i]}} for i in range(1, 10)
    ]
    data = figures.ablation(read_table("ablation"), {"rows": rows})
    assert data["published"][4] == [4.64, 12.11, 3.44] and data["published"][7] == [1.73]
    assert data["measured"][2] == (5, 4.5, 5.5) and list(data["measured"]) == list(range(1, 10))
    left, right = plt.gcf().axes
    others = next(line for line in left.lines if line.get_label() == "reported by others")
    assert others.get_xydata().tolist() == [[12.11, 4], [3.44, 4]]
    line = next(line for line in right.lines if line.get_linestyle() == "-")
    assert line.get_ydata().tolist() == list(range(1, 8))  # rows that the paper does not have stand apart
    assert np.isclose(left.get_ylim(), right.get_ylim()).all()


def test_sources_of_the_model_zoo_are_told_apart():
    data = figures.sources(read_table("model-zoo"), (3.3, 3.6))
    assert data["var-d16"] == {"paper": [3.3], "README": [3.55], "others": [3.49, 3.375, 3.61]}
    assert "imagenet-vq" not in data and data["var-d36"] == {"paper": [2.63], "README": [2.63]}


def test_gains_say_which_steps_compare_single_trainings():
    def row(i, model, fds, parameters):
        mean = {"fd": sum(fds) / len(fds)}
        return {
            "row": i, "step": f"step {i}", "model": model, "runs": dict.fromkeys(range(len(fds))),
            "mean": mean, "band": {"fd": [min(fds), max(fds)]}, "parameters": parameters,
        }  # fmt: skip

    rows = [row(1, "a", [10, 12], 100), row(2, "b", [5, 6], 100), row(3, "b", [4.4], 100), row(4, "c", [3.3], 150)]
    found = figures.gains({1: [20], 2: [5, 9], 3: [4], 4: [3]}, {"rows": rows})
    assert [round(100 * gain["paper"]) for gain in found.values()] == [-75, -20, -25]
    assert [round(100 * gain["here"]) for gain in found.values()] == [-50, -20, -25]
    assert [gain["beyond"] for gain in found.values()] == [True, None, None]
    assert [gain["same model"] for gain in found.values()] == [False, True, False]
    assert found["step 4"]["weights"] == 0.5 and found["step 4"]["seeds"] == (1, 1)
    hollow = [bar for bar in plt.gca().patches if bar.get_facecolor() == (1, 1, 1, 1) and bar.get_width()]
    assert [round(bar.get_width()) for bar in hollow] == [-25]
