import json
import shutil
from dataclasses import replace

import messy
import pytest
import torch
from examples import image_folder

from varlite import load
from varlite.checkpoints import load as pretrained
from varlite.checkpoints.cards import class_names
from varlite.datasets import open_dataset
from varlite.io.files import read_model
from varlite.io.pictures import read_png
from varlite.presets import MODELS, TOKENIZERS
from varlite.tokenizer import VQVAE, fingerprint
from varlite.training import fit_plan, fit_timing, own_pictures
from varlite.training import tune_decoder as decoder
from varlite.training.fit_plan import Plan, choose_tokenizer, new_config, side_of, sides_up_to
from varlite.training.fit_timing import HELD_OUT, Timed, share_out
from varlite.training.new_codes import same_codes
from varlite.training.options import Options
from varlite.training.own_pictures import fit
from varlite.training.run import Run

CPU = Options(device="cpu")
QUICK = Timed(0.5, 64, 0.4, 64, 0.002)


@pytest.fixture
def nothing_ships(presets, monkeypatch):
    monkeypatch.setattr(fit_plan, "shipped_here", lambda name: False)
    monkeypatch.setattr(fit_plan, "SMALL_MODEL", {1: "tiny-var", 3: "tiny-var"})
    monkeypatch.setattr(fit_timing, "AT_LEAST", 20)


@pytest.fixture
def tiny_ones_ship(nothing_ships, trained, tmp_path, monkeypatch):
    """`tiny-vq` and `tiny-var` are in the repository."""
    for name in ("vq", "var"):
        shutil.copytree(trained / name, tmp_path / "checkpoints" / f"tiny-{name}")
    monkeypatch.setattr(pretrained, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(fit_plan, "shipped_here", lambda name: name.startswith("tiny-"))
    monkeypatch.setattr(fit_plan, "NEAREST", {"tiny-vq": "tiny-var"})
    plain = replace(decoder.RECIPE, perceptual="none", gan=0.0, batch=8)
    monkeypatch.setattr(decoder, "RECIPE", plain)
    monkeypatch.setattr(fit_timing, "DECODER", plain)


def said_by(data, out, **more) -> str:
    lines: list[str] = []
    fit(str(data), out, minutes=0.02, options=CPU, say=lines.append, **more)
    return "\n".join(lines)


def test_a_folder_becomes_a_model_with_pictures_scores_and_a_card(nothing_ships, tmp_path):
    data, out = messy.folder(tmp_path / "pets", {"cats": 25, "dogs": 25}), tmp_path / "out"
    text = said_by(data, out, size=16)
    for part in (
        "pets: 50 pictures in 2 classes (cats, dogs), learned in colour at 16 x 16", "held out: 5 pictures",
        "note: 45 pictures to train on are few", "note: few steps fit into 0.02 minutes here",
        "1. tokenizer: none that ships is near", "2. transformer: 2 blocks",
        "the same command goes on", "the tokenizer loses", "distance of 5 samples to held-out pictures",
        f"varlite sample --model {out / 'model'}", f"SamplingPanel(*varlite.load('{out / 'model'}')",
    ):  # fmt: skip
        assert part in text, part
    vq = load(out / "model")[1]
    assert vq.image_size() == (16, 16) and class_names(out / "model") == ["cats", "dogs"]
    assert read_png(out / "samples.png").shape == (3, 2 * 18 + 2, 8 * 18 + 2)
    assert (out / "reconstructions.png").exists() and "cats, dogs" in (out / "model" / "README.md").read_text()
    card = json.loads((out / "model" / "card.json").read_text())
    assert card["scores"]["sw_pixels"] > 0 and card["scores"]["val_loss"] > 0
    assert card["scores_command"].startswith(f"varlite fit {data} --out {out} --size 16 --minutes 0.02")

    # The same again does nothing but repeat it.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert said_by(data, out, size=16).splitlines()[-7:] == text.splitlines()[-7:]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(ValueError, match=r"holds a fit that is another \(minutes is 0.02 there, 3 here\)"):
        fit(str(data), out, size=16, minutes=3, options=CPU)


def test_stopped_in_either_training_the_same_command_gives_what_it_would_have_given(
    tiny_ones_ship, tmp_path, monkeypatch
):
    data, save = image_folder(tmp_path / "shapes", per_class=15), Run.save
    said_by(data, tmp_path / "whole")

    def stop(run, state):
        save(run, state)
        if state["step"] == 7:
            raise KeyboardInterrupt

    (tmp_path / "stopped").mkdir()
    shutil.copy(tmp_path / "whole" / "plan.json", tmp_path / "stopped")  # time differs from call to call
    for _ in range(2):
        monkeypatch.setattr(Run, "save", lambda run, state: stop(run, state))
        with pytest.raises(KeyboardInterrupt):
            said_by(data, tmp_path / "stopped")
        monkeypatch.setattr(Run, "save", save)
        if not (tmp_path / "stopped" / "model").exists():
            plan = Plan(**json.loads((tmp_path / "stopped" / "plan.json").read_text()))
            own_pictures.train_tokenizer(plan, tmp_path / "stopped", CPU, the_line(tmp_path / "stopped"))
    said_by(data, tmp_path / "stopped")
    for name in ("tokenizer", "model"):
        whole, again = (read_model(tmp_path / out / name / "model.safetensors")[1] for out in ("whole", "stopped"))
        assert all(torch.equal(whole[key], again[key]) for key in whole)


def the_line(out):
    return f"varlite fit --out {out}"


def test_a_tokenizer_that_fits_keeps_its_tokens_and_the_transformer_on_them_is_trained_further(
    tiny_ones_ship, trained, tmp_path, monkeypatch
):
    data = image_folder(tmp_path / "shapes", per_class=15)
    monkeypatch.setattr(fit_plan, "GOOD_ENOUGH", 1.0)
    text = said_by(data, tmp_path / "out")
    assert "its tokens stay, its decoder is trained further" in text and "tiny-var, which ships, is trained" in text
    before, after = (load(path)[1] for path in (trained / "var", tmp_path / "out" / "model"))
    assert fingerprint(before) == fingerprint(after)
    assert not torch.equal(before.decoder.conv_out.weight, after.decoder.conv_out.weight)
    monkeypatch.setattr(fit_plan, "GOOD_ENOUGH", 0.0)
    monkeypatch.setattr(fit_plan, "shipped_here", lambda name: name == "tiny-vq")
    assert "2 blocks, from nothing" in said_by(data, tmp_path / "alone")
    monkeypatch.setattr(fit_plan, "shipped_here", lambda name: name.startswith("tiny-"))
    text = said_by(data, tmp_path / "other")
    assert "tiny-vq, which ships and loses" in text and text.count("is trained further: ") == 2
    trained_on = load(tmp_path / "other" / "model")[1]
    assert fingerprint(trained_on) != fingerprint(before) and same_codes(trained_on, before)
    # The transformer knows codes by their numbers, so that none is moved to other pictures.
    recipe = json.loads((tmp_path / "other" / "tokenizer" / "card.json").read_text())["training"]["recipe"]
    assert recipe["start"] == "kept" and not recipe["reseed"]


def test_pictures_without_classes_are_one_class_and_a_part_of_them_is_held_out(nothing_ships, tmp_path):
    messy.folder(tmp_path, {"holiday": 30})
    text = said_by(tmp_path / "holiday", tmp_path / "out", size=16)
    assert "30 pictures in one class, holiday" in text and "held out: 3 pictures" in text
    data = open_dataset(str(tmp_path / "out" / "pictures.csv"), "test", (8, 8), 3)
    assert data.names == [f"../holiday/{i:03d}.png" for i in (0, 10, 20)]
    assert read_png(tmp_path / "out" / "samples.png").shape[1] == 4 * 18 + 2


@pytest.mark.parametrize(("data", "more", "message"), [
    ("few", {}, r"data: .*few has 12 pictures, too few to learn from: at least 20 are needed"),
    ("few/cats", {}, r"data: .*cats has 6 pictures, too few"),
    ("few", {"size": 30}, "size must be a multiple of 4 from 16 to 48, .* got 30"),
    ("few", {"minutes": 0}, "minutes must be positive, got 0"),
])  # fmt: skip
def test_what_cannot_be_learned_is_refused_before_anything_is_written(tmp_path, data, more, message):
    messy.folder(tmp_path / "few", {"cats": 6, "dogs": 6})
    with pytest.raises(ValueError, match=message):
        fit(str(tmp_path / data), tmp_path / "out", options=CPU, **more)
    assert not (tmp_path / "out").exists()


def test_fifty_pictures_are_looked_at_often_but_not_for_twenty_minutes():
    shared = share_out(QUICK, 1000, "new", 45, 5, exact=False)
    assert shared.seen == 0 and (shared.model_batch, shared.model_steps) == (16, 12 * 45 // 16) and shared.views > 1
    assert sum(shared.seconds) < 1000
    assert share_out(QUICK, 1000, "new", 45, 5, exact=True).views == 1


def test_of_half_a_million_pictures_as_many_are_used_as_there_is_time_for():
    shared = share_out(QUICK, 1000, "continued", 450_000, 50_000, exact=False)
    looks = shared.model_steps * shared.model_batch
    assert looks <= shared.seen < 100_000 and shared.views == 1
    assert 700 < sum(shared.seconds[:2]) < 1100
    more = share_out(QUICK, 100_000, "continued", 450_000, 50_000, exact=False)
    assert more.seen == 0 and more.model_steps > 50_000


def test_where_few_steps_would_fit_they_are_smaller():
    slow = Timed(8.0, 64, 6.0, 64, 0.05)
    shared = share_out(slow, 100, "continued", 270, 30, exact=False)
    assert shared.tokenizer_batch == shared.model_batch == 16 and shared.tokenizer_steps == 20
    assert share_out(slow, 10_000, "continued", 270, 30, exact=False).tokenizer_batch == 64


def test_a_part_of_very_many_pictures_is_a_list_with_some_of_each_class_held_out(tmp_path, monkeypatch):
    data = str(messy.folder(tmp_path / "many", {"cats": 30, "dogs": 30, "owls": 2}))
    readers = [open_dataset(data, split, (8, 8), 3) for split in ("train", "test")]
    monkeypatch.setattr(fit_plan, "HELD_OUT", 3)
    listed = fit_plan.write_part(tmp_path / "out", readers, 10, seed=0)
    train, test = (open_dataset(listed, split, (8, 8), 3) for split in ("train", "test"))
    assert train.classes == ("cats", "dogs", "owls") and 10 <= len(train.labels) <= 13 and 3 <= len(test.labels) <= 5
    assert HELD_OUT > 3 and not set(train.names) & set(test.names)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_that_is_taken_has_a_tokenizer_of_that_size(channels):
    for size in (16, 20, 28, 32, 48, 64, 96, 128, 256):
        name, config, ships = choose_tokenizer(size, channels)
        assert config.channels == channels and side_of(config) == size and config.scales[0] == 1
        with torch.device("meta"):
            assert VQVAE(config).image_size() == (size, size)
        assert not ships or name in ("fashion-vq", "still-vq")
    assert choose_tokenizer(28, 1)[0] == choose_tokenizer(None, 1)[0] == "fashion-vq"
    assert choose_tokenizer(64, 3) == choose_tokenizer(None, 3) == ("still-vq", TOKENIZERS["still-vq"].config, True)
    name, config, ships = choose_tokenizer(32, 3)  # the same stride, and so the same weights, on a map of 4 x 4
    assert (name, config.scales, config.multipliers, ships) == ("still-vq", [1, 2, 3, 4], (1, 1, 2, 2), True)


def test_sides_grow_up_to_the_last_and_fit_the_levels():
    assert [sides_up_to(side)[-1] for side in range(4, 17)] == list(range(4, 17))
    assert all(len(sides_up_to(side)) >= 4 for side in range(4, 17))
    for stride in (4, 8, 16):
        assert side_of(new_config(3, stride, 5)) == 5 * stride


def test_the_presets_that_a_fit_starts_from_belong_together():
    for name, model in fit_plan.NEAREST.items():
        assert MODELS[model].tokenizer == name
    for channels, model in fit_plan.SMALL_MODEL.items():
        assert TOKENIZERS[MODELS[model].tokenizer].config.channels == channels
