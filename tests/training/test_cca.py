"""Condition contrastive alignment: the loss, what is compared with what, and a training that resumes."""

import json
import math

import pytest
import torch
from examples import image_folder, lively, tokenizer_for, without_clock

from varlite import load
from varlite.io.files import read_model, save_model
from varlite.training import cca
from varlite.training.cca import Alignment, align, contrastive_loss
from varlite.training.options import Options

QUICK = Options(device="cpu", steps=12, batch=8, lr=2e-3)


def run(trained, out, start=None, data=None, options=QUICK):
    return align(str(start or trained / "var"), str(data or trained / "images"), out, None, options)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_loss_is_equation_12():
    r_B2 = torch.tensor([[0.0, 0.0], [3.0, -2.0]])
    first = math.log(2) + 5 * math.log(2)
    second = math.log(1 + math.exp(-0.5 * 3)) + 5 * math.log(1 + math.exp(-0.5 * 2))
    assert contrastive_loss(r_B2, beta=0.5, contrast=5.0).item() == pytest.approx((first + second) / 2)


def test_likelihoods_are_pushed_up_under_an_images_label_and_down_under_others():
    r_B2 = torch.zeros(4, 2, requires_grad=True)
    contrastive_loss(r_B2, 0.02, 3.0).backward()
    torch.testing.assert_close(r_B2.grad, torch.tensor([[-0.01, 0.03]]).expand(4, 2) / 4)


def test_alignment_tells_labels_apart_and_leaves_the_start_as_it_was(trained, presets, tmp_path):
    before, tokenizer = load(trained / "var")
    path = run(trained, tmp_path / "out", options=Options(device="cpu", steps=30, batch=8, lr=2e-3))
    log = log_of(tmp_path / "out")
    assert log[0]["loss"] <= 2 * math.log(2) + 1e-3 and log[-1]["loss"] < 0.95 * log[0]["loss"]
    assert log[-1]["own"] - log[-1]["other"] > 5 > log[0]["own"] - log[0]["other"] > 0
    (after, same_vq), (again, _) = load(path.parent), load(trained / "var")
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), again.parameters(), strict=True))
    assert any((a != b).any() for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(tokenizer.parameters(), same_vq.parameters(), strict=True))
    about, _ = read_model(path)
    assert about["kind"] == "var" and about["classes"] == ["round", "square"] == after.class_names
    assert list((tmp_path / "out" / "pictures").iterdir())


def test_the_log_starts_from_equal_likelihoods(trained, presets, tmp_path):
    run(trained, tmp_path / "out", options=Options(device="cpu", steps=1, batch=8))
    (line,) = log_of(tmp_path / "out")
    assert line["loss"] == pytest.approx(2 * math.log(2), rel=1e-5)
    assert (line["own"], line["other"]) == pytest.approx((0, 0), abs=1e-4)


def test_other_labels_are_drawn_from_those_of_the_data(trained, presets, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(cca, "contrastive_loss", lambda r_B2, *_: r_B2.square().sum())
    model_class = type(load(trained / "var")[0])
    log_likelihood = model_class.log_likelihood

    def noted(self, tokenizer, idx, label_B2):
        seen.append(label_B2)
        return log_likelihood(self, tokenizer, idx, label_B2)

    monkeypatch.setattr(model_class, "log_likelihood", noted)
    run(trained, tmp_path / "out")
    own, other = torch.cat(seen).unbind(1)
    assert set(other.tolist()) == {0, 1} and 0.3 < (own == other).float().mean() < 0.7
    assert all(torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))  # start and learner see the same


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(trained, presets, tmp_path, break_off):
    whole = run(trained, tmp_path / "whole")
    break_off(Alignment, "step", 10)  # a checkpoint was written after seven
    with pytest.raises(KeyboardInterrupt):
        run(trained, tmp_path / "parts")
    parts = run(trained, tmp_path / "parts")
    assert all(torch.equal(a, read_model(parts)[1][name]) for name, a in read_model(whole)[1].items())
    assert without_clock(log_of(tmp_path / "whole")) == without_clock(log_of(tmp_path / "parts"))
    assert run(trained, tmp_path / "parts") == parts  # finished


def test_what_cannot_be_aligned_is_refused_before_anything_is_written(trained, presets, tmp_path):
    model = lively("maskgit", scales=[4])
    tokenizer = tokenizer_for(model)
    for name, kind, module in (("model", "maskgit", model), ("tokenizer", "tokenizer", tokenizer)):
        about = {"kind": kind, "config": vars(module.config), "tokenizer": "none"}
        save_model(tmp_path / "maskgit" / f"{name}.safetensors", about, module.state_dict())
    with pytest.raises(ValueError, match="maskgit gives no likelihood of its tokens"):
        run(trained, tmp_path / "out", start=tmp_path / "maskgit")
    other = image_folder(tmp_path / "other", classes=("round", "oval"))
    with pytest.raises(ValueError, match=r"has 2 classes \(oval, round, ...\), .* trained on 2 others: alignment"):
        run(trained, tmp_path / "out", data=other)
    for recipe, message in (("beta=0", "beta must be positive, got 0"), ("contrast=-1", "contrast must be 0")):
        with pytest.raises(ValueError, match=message):
            run(trained, tmp_path / "out", options=Options(recipe=(recipe,)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("views", [0, 2])
def test_alignment_sees_as_many_views_as_the_recipe_says(trained, presets, tmp_path, views):
    options = Options(device="cpu", steps=2, batch=8, recipe=(f"views={views}",))
    run(trained, tmp_path / "out", options=options)
    card = json.loads((tmp_path / "out" / "card.json").read_text())["training"]
    assert card["recipe"]["views"] == views and math.isfinite(log_of(tmp_path / "out")[-1]["loss"])
