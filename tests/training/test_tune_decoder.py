import json

import pytest

from varlite import load_tokenizer
from varlite.tokenizer import fingerprint
from varlite.training.options import Options
from varlite.training.tune_decoder import tune_decoder


def test_tuning_the_decoder_keeps_the_tokens_and_lowers_the_error(trained, presets, tmp_path):
    path = tune_decoder(str(trained / "vq"), str(trained / "images"), tmp_path / "tuned", Options(steps=20))
    before, after = (load_tokenizer(p) for p in (trained / "vq", path.parent))
    assert fingerprint(before) == fingerprint(after)
    log = [json.loads(line) for line in (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()]
    first = json.loads((trained / "vq" / "log.jsonl").read_text().splitlines()[-1])
    assert log[-1]["val_mse"] < first["val_mse"]
    assert log[-1]["perplexity_per_scale"] == first["perplexity_per_scale"]


@pytest.mark.parametrize("entry", ["start=kmeans", "start=noise", "codebook=mean", "reseed=true", "quantizer=0.1"])
def test_tuning_the_decoder_refuses_what_would_move_the_codebook(tmp_path, entry):
    with pytest.raises(ValueError, match=f"recipe: {entry.split('=')[0]} is about the codebook, which stays"):
        tune_decoder("fashion-vq", "fashion", tmp_path / "out", Options(recipe=(entry,)))
    assert not (tmp_path / "out").exists()
