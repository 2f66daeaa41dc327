import json

import pytest
import torch
from tiny import tiny_images, tiny_tokenizer

from varlite import load_tokenizer
from varlite.data import to_bytes
from varlite.training.decoder import tune_decoder
from varlite.training.options import Options
from varlite.training.tokenizer import validate_tokenizer
from varlite.training.tokens import fingerprint


def test_validation_is_the_squared_error_of_whole_images():
    model, images = tiny_tokenizer(), to_bytes((tiny_images(300) + 1) / 2)
    scores = validate_tokenizer(model, images.split(128))
    x = images.float() / 127.5 - 1
    with torch.inference_mode():
        assert scores["val_mse"] == pytest.approx((model.decode(model.encode(x)) - x).square().mean().item(), rel=1e-4)
    assert len(scores["perplexity_per_scale"]) == 4


def test_a_short_training_learns_to_reconstruct(trained):
    log = [json.loads(line) for line in (trained / "vq" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.3 * log[0]["loss"]
    assert log[-1]["val_mse"] < 0.06 and min(log[-1]["perplexity_per_scale"]) > 1.5
    assert load_tokenizer(trained / "vq").image_size() == (10, 10)


def test_tuning_the_decoder_keeps_the_tokens_and_lowers_the_error(trained, presets, tmp_path):
    path = tune_decoder(str(trained / "vq"), str(trained / "images"), tmp_path / "tuned", Options(steps=20))
    before, after = (load_tokenizer(p) for p in (trained / "vq", path.parent))
    assert fingerprint(before) == fingerprint(after)
    log = [json.loads(line) for line in (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()]
    first = json.loads((trained / "vq" / "log.jsonl").read_text().splitlines()[-1])
    assert log[-1]["val_mse"] < first["val_mse"]
    assert log[-1]["perplexity_per_scale"] == first["perplexity_per_scale"]
