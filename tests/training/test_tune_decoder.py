import json
import shutil

import pytest
import torch

from varlite import load, load_tokenizer
from varlite.checkpoints.load import convert
from varlite.tokenizer import fingerprint
from varlite.training.options import Options
from varlite.training.tune_decoder import RECIPE, tune_decoder


def test_tuning_the_decoder_keeps_the_tokens_and_lowers_the_error(trained, presets, tmp_path):
    options = Options(steps=20, recipe=("perceptual=none", "gan=0", "lr=5e-4", "batch=64", "warmup=4", "ema=0.9"))
    path = tune_decoder(str(trained / "vq"), str(trained / "images"), tmp_path / "tuned", options)
    before, after = (load_tokenizer(p) for p in (trained / "vq", path.parent))
    assert fingerprint(before) == fingerprint(after)
    log = [json.loads(line) for line in (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()]
    first = json.loads((trained / "vq" / "log.jsonl").read_text().splitlines()[-1])
    assert log[-1]["val_mse"] < first["val_mse"]
    assert log[-1]["perplexity_per_scale"] == first["perplexity_per_scale"]


def test_a_decoder_tuned_from_half_precision_still_goes_with_the_transformer(trained, presets, tmp_path):
    half, run = tmp_path / "half.safetensors", tmp_path / "var"
    convert(trained / "vq" / "model.safetensors", half, torch.float16)
    options = Options(steps=1, batch=4, recipe=("warmup=1", "perceptual=none", "gan=0"))
    tuned = tune_decoder(str(half), str(trained / "images"), tmp_path / "tuned", options)
    shutil.copytree(trained / "var", run)
    shutil.copy(tuned, run / "tokenizer.safetensors")
    tokenizer = load(run)[1]
    assert fingerprint(tokenizer) != fingerprint(load_tokenizer(trained / "vq"))
    assert fingerprint(tokenizer) == fingerprint(load_tokenizer(half))


def test_the_whole_loss_is_what_a_decoder_is_tuned_by_unless_told_otherwise():
    assert RECIPE.perceptual == "fashion" and RECIPE.gan > 0 and RECIPE.discriminator == "features"


@pytest.mark.parametrize("entry", ["start=kmeans", "start=noise", "codebook=mean", "reseed=true", "quantizer=0.1"])
def test_tuning_the_decoder_refuses_what_would_move_the_codebook(tmp_path, entry):
    with pytest.raises(ValueError, match=f"recipe: {entry.split('=')[0]} is about the codebook, which stays"):
        tune_decoder("fashion-vq", "fashion", tmp_path / "out", Options(recipe=(entry,)))
    assert not (tmp_path / "out").exists()
