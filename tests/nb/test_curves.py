import json
import threading
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ipywidgets import Image
from tiny import SIDES, image_folder, tokenizer_config, var_config
from torch.utils.flop_counter import FlopCounterMode

from varlite.experiments.codebook_collapse import ARMS
from varlite.io.places import CHECKPOINTS, DATA
from varlite.models import VAR
from varlite.nb import curves
from varlite.presets import TokenizerRecipe, TransformerRecipe
from varlite.scales import Scales
from varlite.training.options import Options
from varlite.training.train_tokenizer import train_config

SCALES = Scales.of(SIDES)
V = 32
RECIPE = TokenizerRecipe(steps=4, batch=4, lr=1e-3, warmup=1, ema=0.9, l1=0.2, quantizer=0.2)


def line(step, used, any_scale, **others):
    return {
        "step": step, "loss": 1 / step, "codes_used": any_scale / V, "codes_used_per_scale": used,
        "perplexity_per_scale": [n / 2 for n in used], **others,
    }  # fmt: skip


def write_log(folder, lines, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + tail)


def test_a_line_of_a_log_that_is_still_being_written_is_left_out(tmp_path):
    assert curves.read_log(tmp_path) == []
    whole = [{"step": 50, "loss": 2.0}, {"step": 100, "loss": 1.5}]
    write_log(tmp_path, whole, tail='{"step": 150, "los')
    assert curves.read_log(tmp_path) == whole
    write_log(tmp_path, whole, tail='{"step": 150, "pair": {"a": 1}')  # ends in a brace, but not in a line
    assert curves.read_log(tmp_path) == whole


def test_the_logs_that_ship_can_be_read_and_drawn():
    logs = {name: curves.read_log(CHECKPOINTS / name) for name in ("fashion-var-d4", "fashion-var-d6")}
    data = curves.losses(logs, ("loss", "val_loss"))
    for name, log in logs.items():
        steps, values = data["loss"][name]
        assert len(values) == len(log) and steps[-1] == log[-1]["step"]
        assert data["val_loss"][name][1][-1] == log[-1]["val_loss"]
    drawn = curves.codebook(curves.read_log(CHECKPOINTS / "fashion-vq"), Scales.of([1, 2, 3, 5, 7]), 512)
    assert all(values.shape[1] == 5 for _, values in drawn.values())


def test_entries_on_some_lines_only_are_drawn_at_their_steps():
    log = [{"step": 50, "loss": 3.0}, {"step": 100, "loss": 2.0, "val_loss": 2.5}, {"step": 150, "loss": 1.0}]
    data = curves.losses(log, ("loss", "val_loss"))
    assert data == {"loss": {"": ([50, 100, 150], [3.0, 2.0, 1.0])}, "val_loss": {"": ([100], [2.5])}}
    left, right = plt.gcf().axes
    assert list(left.lines[0].get_ydata()) == [3.0, 2.0, 1.0] and list(right.lines[0].get_xdata()) == [100]


def test_the_codebook_figure_shows_perplexity_used_and_dead_codes_of_each_scale_and_of_all():
    log = [{"step": 0, "start": "x"}, line(50, [1, 2, 4, 8], 10), line(100, [2, 4, 8, 16], 24)]
    data = curves.codebook(log, SCALES, V)
    steps, used_SK = data["used"]
    assert steps == [50, 100] and used_SK.tolist() == [[1, 2, 4, 8], [2, 4, 8, 16]]
    np.testing.assert_array_equal(data["dead"][1], V - used_SK)
    np.testing.assert_array_equal(data["perplexity"][1], used_SK / 2)
    perplexity, used, dead = plt.gcf().axes
    assert list(perplexity.lines[3].get_ydata()) == [4, 8]
    assert list(used.lines[4].get_ydata()) == [10, 24]  # any scale
    assert list(dead.lines[4].get_ydata()) == [22, 8]


def test_the_log_of_a_transformer_has_no_codebook_health():
    with pytest.raises(ValueError, match="codes_used_per_scale"):
        curves.codebook([{"step": 50, "loss": 1.0}], SCALES, V)


def test_curves_are_averaged_over_the_steps_before():
    rows = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(curves.smooth(rows, 1), rows)
    smoothed = curves.smooth(rows, 3)
    for i in range(6):
        np.testing.assert_allclose(smoothed[i], rows[max(0, i - 2) : i + 1].mean(0))


def test_a_curve_by_scale_is_drawn_beside_the_level_it_is_compared_with():
    values = np.linspace(5, 1, 40).reshape(10, 4)
    drawn = curves.by_scale(values, SCALES, "loss", levels_K=[4, 3, 2, 1], limit=6, mark=(5, "here"))
    np.testing.assert_allclose(drawn, values)
    lines = plt.gca().lines
    np.testing.assert_allclose([x.get_ydata() for x in lines[:4]], values.T)
    assert [x.get_ydata()[0] for x in lines[4:8]] == [4, 3, 2, 1]
    assert [x.get_color() for x in lines[:4]] == [x.get_color() for x in lines[4:8]]


def test_bars_stand_in_groups_one_a_scale():
    rows = {"a": [1, 2, 3, 4], "b": [4, 3, 2, 1]}
    assert curves.bars(rows, SCALES, "loss", limit=5) == rows
    patches = plt.gca().patches
    assert [bar.get_height() for bar in patches] == [1, 2, 3, 4, 4, 3, 2, 1]
    assert all(0 <= b.get_x() - a.get_x() < 1 for a, b in zip(patches[:4], patches[4:], strict=True))


def test_codes_are_placed_in_the_plane_of_what_is_asked_for():
    flat = torch.zeros(50, 5)
    flat[:, 1:3] = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0])
    codes = torch.eye(5)
    places = curves.code_map({"now": (flat, codes, torch.arange(5) < 2)})["now"]
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
    data = curves.ablation({"config": {"scales": SIDES, "vocab": V}, "arms": arms})
    assert list(data) == ["a", "b", "c"] and data["a"].tolist() == [[0.5, 1, 2, 4], [1, 2, 4, 8]]
    assert [bar.get_width() for bar in plt.gcf().axes[3].patches] == [0.01, 0.02, 0.03]


def test_the_ablation_that_was_measured_can_be_drawn():
    result = json.loads((DATA / "results" / "codebook.json").read_text())
    assert list(curves.ablation(result)) == list(ARMS)
    errors = [bar.get_width() for bar in plt.gcf().axes[len(ARMS)].patches]
    assert errors == [arm["val_mse"] for arm in result["arms"].values()]


def test_the_screen_follows_a_log_and_shows_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "WAIT", 0.01)
    seen, drawn, screen = [], threading.Semaphore(0), Image(format="png")

    def note(change):
        seen.append(bytes(change["new"]))
        drawn.release()

    screen.observe(note, "value")
    with curves.watch(tmp_path / "run", screen):
        assert drawn.acquire(timeout=20)  # no log yet
        write_log(tmp_path / "run", [line(50, [1, 2, 4, 8], 10)])
        assert drawn.acquire(timeout=20)
        write_log(tmp_path / "run", [line(50, [1, 2, 4, 8], 10), line(100, [2, 4, 8, 16], 20)])
    assert len(seen) == len(set(seen)) == 3
    assert seen[-1] == bytes(screen.value) and seen[-1].startswith(b"\x89PNG")


def test_the_screen_is_let_go_when_a_training_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "WAIT", 0.01)
    threads = threading.active_count()
    with pytest.raises(FloatingPointError), curves.watch(tmp_path, Image(format="png")):
        raise FloatingPointError("the loss is nan")
    assert threading.active_count() == threads


def test_a_training_in_this_process_is_watched_and_its_progress_bar_kept_off_the_page(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(curves, "WAIT", 0.01)
    data, screen = image_folder(tmp_path / "images", side=10), Image(format="png")
    with curves.watch(tmp_path / "run", screen):
        train_config(tokenizer_config(), RECIPE, "tiny", str(data), tmp_path / "run", Options(device="cpu"))
    assert bytes(screen.value).startswith(b"\x89PNG") and capfd.readouterr().err == ""
    data = curves.codebook(curves.read_log(tmp_path / "run"), SCALES, V)
    assert data["used"][0] == [4] and ((data["used"][1] + data["dead"][1]) == V).all()


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"varlite train: .*unknown model preset 'nosuch'"):
        curves.run("train", "--preset", "nosuch", "--data", tmp_path, "--out", tmp_path / "run")
    curves.run("info")


@pytest.mark.parametrize("changes", [{}, {"depth": 3, "width": 96}, {"scales": [1, 4, 7]}, {"shared_adaln": True}])
def test_the_cost_of_a_training_is_three_forward_passes_an_image(changes):
    config = var_config(**changes)
    scales, recipe = Scales.of(config.scales), TransformerRecipe(steps=10, batch=4, lr=1e-3, warmup=1, ema=0.9)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:  # the CPU's fused attention is not counted
        VAR(config)(torch.empty(1, scales.total - 1, config.z), torch.zeros(1).long())
    cost = curves.training_flops(config, recipe)
    assert cost == pytest.approx(3 * counter.get_total_flops() * 10 * 4, rel=0.02)
    assert curves.training_flops(config, replace(recipe, steps=20)) == pytest.approx(2 * cost)
