import json
import shutil
from dataclasses import replace

import pytest
import torch
from examples import SIDES, tiny_images, tiny_tokenizer, tokenizer_config

from varlite import load_tokenizer
from varlite.datasets.pixels import to_bytes
from varlite.evaluation.validation import validate_tokenizer
from varlite.presets import TOKENIZERS
from varlite.training import loop
from varlite.training import train_tokenizer as stage1
from varlite.training.options import Options
from varlite.training.train_tokenizer import train_tokenizer


def test_validation_is_the_squared_error_of_whole_images():
    model, images = tiny_tokenizer(), to_bytes((tiny_images(300) + 1) / 2)
    scores = validate_tokenizer(model, images.split(128))
    x = images.float() / 127.5 - 1
    with torch.inference_mode():
        assert scores["val_mse"] == pytest.approx((model.decode(model.encode(x)) - x).square().mean().item(), rel=1e-4)
    assert len(scores["perplexity_per_scale"]) == 4


def test_a_short_training_learns_to_reconstruct(trained):
    log = [json.loads(line) for line in (trained / "vq" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < log[0]["loss"] / 3
    assert log[-1]["val_mse"] < 0.06 and min(log[-1]["perplexity_per_scale"]) > 1.5
    assert load_tokenizer(trained / "vq").image_size() == (10, 10)


def test_codes_that_follow_the_mean_are_those_that_the_finished_model_has(trained, presets, tmp_path):
    recipe = ("codebook=mean", "ema=0", "reseed=false")
    options = Options(device="cpu", steps=5, recipe=recipe)
    train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "five", options)
    train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "ten", replace(options, steps=10))
    codes = [load_tokenizer(tmp_path / name).quantizer.codebook.weight for name in ("five", "ten")]
    live = torch.load(tmp_path / "ten" / "checkpoint.pt", weights_only=True)["parts"]["model"]["model"]
    assert torch.equal(codes[1], live["model.quantizer.codebook.weight"]) and not torch.equal(*codes)


def test_a_tokenizer_goes_on_from_another_with_another_schedule(trained, presets, tmp_path, monkeypatch):
    one = replace(TOKENIZERS["tiny-vq"], config=tokenizer_config(scales=SIDES[-1:], phi_shared=1))
    monkeypatch.setitem(TOKENIZERS, "tiny-vq-raster", one)
    data, start = str(trained / "images"), str(trained / "vq")
    path = train_tokenizer("tiny-vq-raster", data, tmp_path / "one", Options(steps=20), start)
    lines = (tmp_path / "one" / "log.jsonl").read_text().splitlines()
    anew = [json.loads(line) for line in (trained / "vq" / "log.jsonl").read_text().splitlines()]
    assert json.loads(lines[0])["loss"] < 0.5 * anew[0]["loss"]  # it knows already how to draw
    assert load_tokenizer(path.parent).scales.sides == SIDES[-1:]
    card = json.loads((tmp_path / "one" / "card.json").read_text())
    assert card["started_from"]["preset"] == "tiny-vq" and f"--start {start}" in card["training"]["command"]


def test_a_tokenizer_of_another_shape_cannot_be_gone_on_from(trained, presets, tmp_path, monkeypatch):
    other = replace(TOKENIZERS["tiny-vq"], config=tokenizer_config(vocab=16, ch=64))
    monkeypatch.setitem(TOKENIZERS, "tiny-vq-other", other)
    with pytest.raises(
        ValueError, match=r"start: .* does not have the shape of the preset: ch is 32 there, 64 here; vocab"
    ):
        train_tokenizer("tiny-vq-other", str(trained / "images"), tmp_path / "x", start=str(trained / "vq"))
    assert not (tmp_path / "x").exists()


def test_images_that_vanish_while_training_are_replaced_and_counted(trained, presets, tmp_path, monkeypatch, capsys):
    images, minimise, steps = shutil.copytree(trained / "images", tmp_path / "images"), stage1.Engine.minimise, []
    for path in list((images / "round").iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:50])

    def lose_one(*arguments):
        steps.append(1)
        if len(steps) == 20:
            next((images / "square").glob("*.png")).unlink()
        return minimise(*arguments)

    monkeypatch.setattr(stage1.Engine, "minimise", lose_one)
    stage1.train_tokenizer("tiny-vq", str(images), tmp_path / "out", Options(device="cpu"))
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert 1 <= log[0]["skipped"] <= 3 and log[-1]["skipped"] == 4 and log[-1]["step"] == 40
    assert "skipped 4 pictures that could not be read: " in capsys.readouterr().err


def test_codes_can_be_kept_only_of_a_start(presets, tmp_path):
    with pytest.raises(ValueError, match="start=kept keeps the codes of the tokenizer given as start"):
        train_tokenizer("tiny-vq", "fashion", tmp_path / "out", Options(recipe=("start=kept",)))


def stopped_after(step):
    """Makes a training end, after it has saved, once so many steps are done."""
    step_of = stage1.TokenizerTraining.step

    def stop(self, number):
        if number == step:
            raise KeyboardInterrupt
        return step_of(self, number)

    return stop


@pytest.mark.parametrize("stop", [3, 7])
def test_a_stop_before_or_after_the_adversary_joins_changes_nothing(trained, presets, tmp_path, monkeypatch, stop):
    recipe = ("gan=0.5", "gan_from=0.5", "warmup=1", "reseed=false")
    options, data = Options(device="cpu", steps=10, recipe=recipe), str(trained / "images")
    monkeypatch.setattr(loop, "EVERY", loop.Every(log=5, save=100, validate=20))  # saving is what may change it
    whole = load_tokenizer(train_tokenizer("tiny-vq", data, tmp_path / "whole", options))
    monkeypatch.setattr(loop, "EVERY", loop.Every(log=5, save=1, validate=20))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage1.TokenizerTraining, "step", stopped_after(stop))
        train_tokenizer("tiny-vq", data, tmp_path / "stopped", options)
    resumed = load_tokenizer(train_tokenizer("tiny-vq", data, tmp_path / "stopped", options))
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_schedule_that_leaves_some_phis_out_can_be_trained_and_resumed(trained, presets, tmp_path, monkeypatch):
    two = replace(TOKENIZERS["tiny-vq"], config=tokenizer_config(scales=[1, 5]))
    monkeypatch.setitem(TOKENIZERS, "tiny-two", two)
    monkeypatch.setattr(loop, "EVERY", loop.Every(log=5, save=1, validate=20))
    options, data = Options(device="cpu", steps=6), str(trained / "images")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage1.TokenizerTraining, "step", stopped_after(3))
        train_tokenizer("tiny-two", data, tmp_path / "out", options)
    assert load_tokenizer(train_tokenizer("tiny-two", data, tmp_path / "out", options)).scales.sides == [1, 5]
