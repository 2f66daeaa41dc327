import json

import pytest


def test_a_model_is_aligned_by_the_command_line(varlite, trained, presets, tmp_path):
    data = ["--data", trained / "images", "--steps", 2, "--batch", 4, "--recipe", "contrast=2"]
    status, out, err = varlite("align", "--start", trained / "var", *data)
    assert status == 0, err
    assert out.strip() == "runs/var-cca/model.safetensors"
    card = json.loads((tmp_path / "runs/var-cca/card.json").read_text())
    assert card["training"]["recipe"]["contrast"] == 2 and card["started_from"]["preset"] == "tiny-var"
    assert card["training"]["command"].startswith("varlite align --start")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "x"], "unknown model 'x': neither a file or folder here"),
        (["--out", "a-file", "--start", "x"], "out: a-file is a file, and a folder is needed there"),
        (["--recipe", "gan=1"], "recipe: there is no entry 'gan'; there are: steps, batch, lr"),
        (["--data", "still-life"], "data: still-life has 10 classes"),
        (["--weights", "a-file"], "weights: only the published models take it"),
        (["--steps", "0"], "steps must be positive, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, arguments, message):
    refused(["align", *arguments], message)
