import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from examples import SIDES

from varlite.experiments.codebook_collapse import ARMS
from varlite.io.places import CHECKPOINTS, DATA
from varlite.nb import training_figures as figures
from varlite.nb.training_watch import read_log
from varlite.scales import Scales

SCALES, V = Scales.of(SIDES), 32


def line(step, used, any_scale, **others):
    return {
        "step": step, "loss": 1 / step, "codes_used": any_scale / V, "codes_used_per_scale": used,
        "perplexity_per_scale": [n / 2 for n in used], **others,
    }  # fmt: skip


def test_the_logs_that_ship_can_be_read_and_drawn():
    logs = {name: read_log(CHECKPOINTS / name) for name in ("fashion-var-d4", "fashion-var-d6")}
    data = figures.losses(logs, ("loss", "val_loss"))
    for name, log in logs.items():
        steps, values = data["loss"][name]
        assert len(values) == len(log) and steps[-1] == log[-1]["step"]
        assert data["val_loss"][name][1][-1] == log[-1]["val_loss"]
    drawn = figures.codebook_health(read_log(CHECKPOINTS / "fashion-vq"), Scales.of([1, 2, 3, 5, 7]), 512)
    assert all(values.shape[1] == 5 for _, values in drawn.values())


def test_entries_on_some_lines_only_are_drawn_at_their_steps():
    log = [{"step": 50, "loss": 3.0}, {"step": 100, "loss": 2.0, "val_loss": 2.5}, {"step": 150, "loss": 1.0}]
    data = figures.losses(log, ("loss", "val_loss"))
    assert data == {"loss": {"": ([50, 100, 150], [3.0, 2.0, 1.0])}, "val_loss": {"": ([100], [2.5])}}
    left, right = plt.gcf().axes
    assert list(left.lines[0].get_ydata()) == [3.0, 2.0, 1.0] and list(right.lines[0].get_xdata()) == [100]


def test_panels_can_have_titles_in_words():
    data = figures.losses([{"step": 50, "loss": 3.0}], {"loss": "training loss"})
    assert list(data) == ["loss"] and plt.gca().get_title() == "training loss"


def test_the_codebook_figure_shows_perplexity_and_used_codes_of_each_scale_and_of_any():
    log = [{"step": 0, "start": "x"}, line(50, [1, 2, 4, 8], 10), line(100, [2, 4, 8, 16], 24)]
    data = figures.codebook_health(log, SCALES, V, mark=(75, "moved"))
    steps, used_SK = data["used"]
    assert steps == [50, 100] and used_SK.tolist() == [[1, 2, 4, 8], [2, 4, 8, 16]]
    np.testing.assert_array_equal(data["perplexity"][1], used_SK / 2)
    perplexity, used = plt.gcf().axes
    assert list(perplexity.lines[3].get_ydata()) == [4, 8]
    (any_scale,) = (line for line in used.lines if line.get_label() == "any scale")
    assert list(any_scale.get_ydata()) == [10, 24]
    assert all([75, 75] in [list(line.get_xdata()) for line in axis.lines] for axis in (perplexity, used))


def test_the_log_of_a_transformer_has_no_codebook_health():
    with pytest.raises(ValueError, match="codes_used_per_scale"):
        figures.codebook_health([{"step": 50, "loss": 1.0}], SCALES, V)


def test_curves_are_averaged_over_the_steps_before():
    rows = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(figures.running_mean(rows, 1), rows)
    smoothed = figures.running_mean(rows, 3)
    for i in range(6):
        np.testing.assert_allclose(smoothed[i], rows[max(0, i - 2) : i + 1].mean(0))


def test_a_curve_by_scale_is_drawn_beside_the_level_it_is_compared_with():
    values = np.linspace(5, 1, 40).reshape(10, 4)
    levels = {"levels_K": [9, 3, 2, 1], "levels_name": "compare"}
    drawn = figures.curves_by_scale(values, SCALES, "loss", limit=6, mark=(5, "here"), **levels)
    np.testing.assert_allclose(drawn, values)
    lines = plt.gca().lines
    np.testing.assert_allclose([x.get_ydata() for x in lines[:4]], values.T)
    assert [x.get_ydata()[0] for x in lines[4:8]] == [9, 3, 2, 1]
    name = plt.gca().texts[0]
    assert (name.get_text(), name.get_position()[1]) == ("compare", 6)  # where there is most room between two dashes


def test_codes_are_placed_in_the_plane_of_what_is_asked_for():
    flat = torch.zeros(50, 5)
    flat[:, 1:3] = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0])
    codes = torch.eye(5)
    places = figures.code_map({"now": (flat, codes, torch.arange(5) < 2)})["now"]
    centred = flat - flat.mean(0)
    # In the plane distances are kept; what sticks out of it falls onto its foot.
    assert np.linalg.norm(places[1] - places[2]) == pytest.approx(2**0.5, rel=1e-4)
    assert np.allclose(places[0], places[3], atol=1e-5)
    dead, used = plt.gcf().axes[0].collections[1:]
    assert (len(dead.get_offsets()), len(used.get_offsets())) == (3, 2)
    assert len(plt.gcf().axes[0].collections[0].get_offsets()) == len(centred)


def test_an_ablation_has_a_panel_for_each_arm_and_one_of_errors():
    curve = [line(50, [1, 2, 4, 8], 8), line(100, [2, 4, 8, 16], 16)]
    arms = {name: {"changes": {}, "curve": curve, "val_mse": i / 100} for i, name in enumerate("abc", 1)}
    data = figures.collapse({"config": {"scales": SIDES, "vocab": V}, "arms": arms})
    assert list(data) == ["a", "b", "c"] and data["a"].tolist() == [[0.5, 1, 2, 4], [1, 2, 4, 8]]
    assert [bar.get_width() for bar in plt.gcf().axes[3].patches] == [0.01, 0.02, 0.03]


def test_the_ablation_that_was_measured_can_be_drawn():
    result = json.loads((DATA / "results" / "codebook.json").read_text())
    assert list(figures.collapse(result)) == list(ARMS)
    errors = [bar.get_width() for bar in plt.gcf().axes[len(ARMS)].patches]
    assert errors == [arm["val_mse"] for arm in result["arms"].values()]
