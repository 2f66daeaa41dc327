"""The data behind the figures of scaling laws, and that these figures can be drawn from any ladder."""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from varlite.experiments.scaling_laws import config_of, flops, flops_by_part, parameters, size
from varlite.io.pictures import save_png, tile
from varlite.nb import scaling_figures as figures
from varlite.presets import MODELS


def run_of(depth, floor=0.0):
    """A run whose loss follows a law in N exactly, and falls over three points of its curve."""
    config = MODELS[f"fashion-var-d{depth}"].config
    end = floor + (2e-3 * size(config)) ** -0.2
    points = [
        {"step": step, "images": 64 * step} | dict.fromkeys(figures.NAMES, end * (1 + 20 / step - 20 / 600))
        for step in (150, 300, 600)
    ]
    return {"preset": f"fashion-var-d{depth}", "kind": "var", "depth": depth, "config": asdict(config), "curve": points}


RUNS = {depth: run_of(depth) for depth in (1, 2, 3, 4, 6)}


def test_the_line_in_size_goes_through_the_ends_of_the_runs():
    data = figures.against_size(RUNS)
    assert list(data) == list(figures.NAMES) and len(plt.gcf().axes) == 4
    for part in data.values():
        assert part["X"].tolist() == [18 * d * (32 * d) ** 2 for d in RUNS]
        assert part["law"].exponent == pytest.approx(-0.2) and part["interval"] == pytest.approx((-0.2, -0.2))
    assert all("exponent -0.200 (-0.200 to -0.200)" in axis.get_title() for axis in plt.gcf().axes)


def test_the_envelope_in_compute_takes_the_best_run_for_each_budget():
    data = figures.against_compute(RUNS)["val_loss_last"]
    assert (np.diff(data["X"]) > 0).all() and (np.diff(data["L"]) < 0).all()
    assert data["depth"][-1] == 6 and set(data["depth"]) <= set(RUNS)
    config = config_of(RUNS[6])
    assert data["X"][-1] == 64 * 600 * flops(config, "training")
    assert min(data["halves"]) <= data["law"].exponent <= max(data["halves"])
    assert f"its halves {data['halves'][0]:.3f} and" in plt.gcf().axes[0].get_title()


def test_panels_are_as_many_as_names():
    figures.against_size(RUNS, ["val_loss"])
    assert len(plt.gcf().axes) == 1
    figures.against_compute(RUNS, ["val_loss", "val_error", "val_loss_last"])
    assert len([axis for axis in plt.gcf().axes if axis.lines]) == 3


def test_a_floor_is_found_beside_the_straight_line():
    runs = {depth: run_of(depth, floor=2.0) for depth in RUNS}
    found = figures.with_floor({"loss": figures.finals(runs, "val_loss")})["loss"]
    assert found["floor"].floor == pytest.approx(2, abs=1e-2)
    assert found["floor"].exponent == pytest.approx(-0.2, abs=2e-3) and found["straight"].exponent > -0.1
    low, high = found["intervals"]["floor"]
    assert low <= high


def test_assuming_the_true_floor_gives_the_true_exponent_and_the_straightest_line():
    X, L = figures.finals({depth: run_of(depth, floor=2.0) for depth in RUNS}, "val_loss")
    data = figures.assumed_floors({"loss": (X, L)}, {"loss": -0.2})["loss"]
    assert data["floor"][0] == 0 and (np.diff(data["exponent"]) < 0).all()
    best = data["scatter"].argmin()
    assert data["floor"][best] == pytest.approx(2, abs=0.05) and data["exponent"][best] == pytest.approx(-0.2, abs=0.01)


def test_rival_laws_pass_by_the_points_and_part_beyond_them():
    X, L = figures.finals(RUNS, "val_loss")
    data = figures.rivals(X, L, "loss", reach=1e4)
    assert list(data) == ["x", "power law", "a - b log X", "last two points"]
    np.testing.assert_allclose(data["power law"], data["x"] ** -0.2 * 2e-3**-0.2)  # as the runs do
    near, far = (abs(data["a - b log X"][i] / data["power law"][i] - 1) for i in (0, -1))
    assert data["x"][-1] == pytest.approx(1e4 * X.max()) and near < 0.2 < far
    names = [line.get_label() for line in plt.gca().lines]
    assert names[-2:] == ["measured, fitted", "measured, predicted"]
    assert list(plt.gca().lines[-1].get_xdata()) == [X.max()]


def test_shares_add_up_and_know_every_part_of_a_model():
    configs = {name: MODELS[name].config for name in ("fashion-var-d4", "fashion-mvar-d4", "fashion-raster-d4")}
    for count in (parameters, flops_by_part):
        data = figures.shares({name: count(config) for name, config in configs.items()}, "share")
        assert all(sum(parts.values()) == pytest.approx(1) for parts in data.values())
        bars = plt.gca().patches
        assert sum(bar.get_width() for bar in bars) == pytest.approx(len(configs))


def test_exponents_show_what_they_are_given():
    rows = [{"name": "loss in N", "ours": -0.1, "interval": (-0.12, -0.08), "paper": -0.2}] * 2
    assert figures.exponents([rows]) == [rows]
    drawn = [line.get_xdata() for line in plt.gca().lines]
    assert [-0.1] in [list(np.atleast_1d(x)) for x in drawn] and [-0.2] in [list(np.atleast_1d(x)) for x in drawn]


def test_pictures_are_cut_from_the_grid_that_a_training_writes(tmp_path):
    images = torch.arange(12, dtype=torch.uint8).view(4, 3, 1, 1, 1).expand(4, 3, 1, 28, 28)  # 3 row + column
    save_png(tmp_path / "grid.png", tile([list(row) for row in images]))
    block_HW = 255 * figures.column_of(tmp_path / "grid.png", [0, 1, 3], column=2)[0]
    assert block_HW.shape == (56, 56)
    corners = [block_HW[i : i + 28, j : j + 28] for i in (0, 28) for j in (0, 28)]
    assert [set(c.flatten().round().tolist()) for c in corners] == [{2}, {5}, {11}, {255}]
