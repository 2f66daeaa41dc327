import json

import pytest
import torch

from varlite.checkpoints.load import load_tokenizer
from varlite.datasets.fashion import FashionMNIST
from varlite.experiments import decoder_losses as module
from varlite.experiments.decoder_losses import ARMS, BEFORE, WHOLE, Bench, decode, reproduce_decoder, sharpness, strip
from varlite.training.options import Options


@pytest.fixture(scope="module")
def bench():
    return Bench(load_tokenizer("fashion-vq"), 40, 0, False)


def test_sharpness_falls_with_blur_and_rises_with_contrast():
    x = FashionMNIST("test").all_images[:20]
    soft = torch.nn.functional.avg_pool2d(x.float(), 3, 1, 1).to(torch.uint8)
    assert sharpness(soft) < 0.9 * sharpness(x) and sharpness(x // 2) == pytest.approx(sharpness(x) / 2, rel=0.02)


def test_samples_are_drawn_once_and_every_decoder_has_the_same_tokens(bench, monkeypatch):
    idx = bench.tokens("fashion-var-d4")
    assert [idx_Bl.shape for idx_Bl in idx] == [(40, l) for l in bench.tokenizer.scales.lengths]
    monkeypatch.setattr(module, "generate_many", None)
    assert bench.tokens("fashion-var-d4") is idx
    images = decode(bench.tokenizer, idx)
    assert images.shape == (40, 1, 28, 28) and images.dtype == torch.uint8
    scores = bench.sampled(bench.tokenizer, "fashion-var-d4")
    assert scores["accuracy"] > 0.8 and 0.5 < scores["sharpness"] < 1.1
    assert {"fd_first", "fd_second", "sw_pixels", "sw_patches"} <= scores["judges"].keys()


def test_every_arm_starts_from_one_decoder_with_its_own_terms_and_a_stop_loses_nothing(tmp_path, monkeypatch):
    tuned, judged = [], []

    def tune(tokenizer, data, out, options):
        tuned.append((out.name, tokenizer, options.recipe, options.steps))

    def load(name, **_):
        return name

    class Judging:
        def __init__(self, *_):
            pass

        def reconstructed(self, tokenizer):
            if len(judged) == 2:
                judged.append("stopped")
                raise KeyboardInterrupt
            judged.append(tokenizer)
            return {"mse": 0.01, "fd": 1.0, "sharpness": 0.9, "judges": {"sw_pixels": {"value": 0.1}}}

        def sampled(self, tokenizer, model):
            return {"accuracy": 0.9}

    monkeypatch.setattr(module, "tune_decoder", tune)
    monkeypatch.setattr(module, "load_tokenizer", load)
    monkeypatch.setattr(module, "Bench", Judging)
    monkeypatch.setattr(module, "save_picture", lambda *_: None)
    options = Options(steps=3, recipe=("l1=0.3",))
    with pytest.raises(KeyboardInterrupt):
        reproduce_decoder(tmp_path / "out", tmp_path / "runs", num=20, options=options)
    record = reproduce_decoder(tmp_path / "out", tmp_path / "runs", num=20, options=options)
    assert json.loads((tmp_path / "out" / "decoder.json").read_text()) == record
    assert list(record["arms"]) == [BEFORE, *ARMS] and len(judged) == len(record["arms"]) + 1
    assert {name for name, *_ in tuned} == {"squared-error", "perceptual", "adversary", "whole-loss"}
    assert {tokenizer for _, tokenizer, *_ in tuned} == {"fashion-vq"} and {steps for *_, steps in tuned} == {3}
    assert dict((name, recipe) for name, _, recipe, _ in tuned)["perceptual"] == ("l1=0.3", "gan=0")
    assert record["arms"][WHOLE]["changes"] == [] and record["arms"][BEFORE]["minutes"] is None
    with pytest.raises(ValueError, match=r"out: .*decoder.json holds other measurements .*num is 20 there, 40 here"):
        reproduce_decoder(tmp_path / "out", tmp_path / "runs", num=40, options=options)


def test_a_strip_has_the_images_above_a_row_for_each_tokenizer():
    images = FashionMNIST("test").all_images[:3]
    picture = strip(["fashion-vq", "fashion-vq-raster"], images)
    assert picture.shape == (1, 3 * 30 + 2, 3 * 30 + 2)
    assert torch.equal(picture[:, 2:30, 2:30], images[0]) and not torch.equal(picture[:, 32:60, 2:30], images[0])
