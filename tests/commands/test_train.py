import json

import pytest


def test_both_stages_are_trained_by_the_command_line(varlite, trained, presets, tmp_path):
    data = ["--data", trained / "images"]
    status, out, err = varlite("train-tokenizer", "--preset", "tiny-vq", *data, "--steps", 1, "--batch", 4)
    said = f"{trained / 'images'}: 54 images in 2 classes (round 27, square 27)\n"
    assert said in err
    assert status == 0 and out.strip() == "runs/tiny-vq/model.safetensors"
    status, out, err = varlite("train", "--preset", "tiny-var", *data, "--tokenizer", "runs/tiny-vq", "--steps", 1)
    assert said in err
    assert status == 0 and out.strip() == "runs/tiny-var/model.safetensors"
    card = json.loads((tmp_path / "runs/tiny-var/card.json").read_text())
    assert card["training"]["command"].startswith("varlite train --preset tiny-var --data")


def test_views_on_the_command_line_are_an_entry_of_the_recipe(varlite, trained, presets, tmp_path):
    data = ["--data", trained / "images", "--tokenizer", trained / "vq"]
    assert varlite("train", "--preset", "tiny-var", *data, "--steps", 1, "--views", 2, "--out", "out")[0] == 0
    card = json.loads((tmp_path / "out/card.json").read_text())["training"]
    assert card["recipe"]["views"] == 2 and "--recipe views=2" in card["command"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "x"], "unknown model preset 'x'; there are: fashion-var-d4"),
        (["train", "--recipe", "gan=1"], "recipe: there is no entry 'gan'; there are: steps, batch, lr"),
        (["train", "--start", "nothing"], "unknown model 'nothing': neither a file or folder here"),
        (["train", "--accumulate", "0"], "accumulate must be at least 1, got 0"),
        (["train", "--accumulate", "5"], "batch must be a multiple of processes x micro-steps (1 x 5), got 64"),
        (["train", "--tokenizer", "nothing"], "unknown tokenizer 'nothing'"),
        (["train", "--steps", "0"], "steps must be positive, got 0"),
        (["train-tokenizer", "--preset", "x"], "unknown tokenizer preset 'x'; there are: fashion-vq"),
        (["train-tokenizer", "--lr=-1"], "lr must be positive, got -1.0"),
        (
            ["train-tokenizer", "--data", "nothing"],
            "data: nothing is neither the name of a dataset",
        ),
        (["train-tokenizer", "--data", "empty"], "data: empty must hold one sub-folder of images for each class"),
        (["train-tokenizer", "--data", "empty", "--unreadable", "2"], "unreadable must be a share from 0 to 1, got 2"),
        (["train-tokenizer", "--steps", "1", "--out", "a-file/x"], "a-file"),
        (["tune-decoder", "--tokenizer", "x"], "unknown tokenizer 'x'"),
        (["tune-decoder", "--tokenizer", "fashion-vq", "--out", "a-file"], "out: a-file is a file, and a folder"),
        (["train", "--out", "a-file", "--tokenizer", "nothing"], "out: a-file is a file, and a folder"),
        (["train-tokenizer", "--out", "a-file", "--start", "nothing"], "out: a-file is a file, and a folder"),
        (["train-classifier", "--out", "a-file"], "out: a-file is a file, and a folder"),
        (["train-judge", "--out", "a-file"], "out: a-file is a file, and a folder"),
        (["train", "--weights", "a-file"], "weights: only the published models take it"),
        (["train", "--seed", "1" + 30 * "0"], "seed must be a number of 64 bits"),
        (["train", "--lr", "nan"], "lr must be positive, got nan"),
        (["train", "--lr", "inf"], "lr must be positive, got inf"),
        (["train", "--batch=-1"], "batch must be positive, got -1"),
        (["train", "--recipe", "ema=nan"], "ema must be 0"),
        (["train", "--recipe", "warmup=x"], "recipe: warmup must be of type int, got 'x'"),
        (["train", "--recipe", ""], "recipe: there is no entry ''"),
        (["train", "--views=-1"], "views must be 0 or more, got -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_answered_in_one_line(varlite, tmp_path, arguments, message):
    (tmp_path / "a-file").write_text("")
    (tmp_path / "empty").mkdir()
    status, out, err = varlite(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("varlite: error: ") and message in err and err.count("\n") == 1
