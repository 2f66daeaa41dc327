import json

import pytest
import torch

from varlite.io.files import read_model
from varlite.training import train_tokenizer as stage1
from varlite.training.losses import adaptive_weight, hinge_loss
from varlite.training.options import Options


def test_the_hinge_loss_is_zero_once_both_sides_are_a_margin_apart():
    one = torch.ones(4)
    assert hinge_loss(one, -one) == 0 and hinge_loss(2 * one, -3 * one) == 0
    assert hinge_loss(0 * one, 0 * one) == 1 and hinge_loss(-one, one) == 2


def test_the_adaptive_weight_makes_both_gradients_equally_long():
    w, x = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])
    reconstruction, adversarial = (w * x).sum() * 10, (w * x).sum()
    weight = adaptive_weight(reconstruction, adversarial, w)
    assert weight == pytest.approx(10, rel=1e-3) and not weight.requires_grad
    assert adaptive_weight(reconstruction, 0 * adversarial, w) == 1e4


@pytest.mark.parametrize("kind", ["patch", "features"])
def test_the_adversary_joins_late_and_everything_resumes_bit_for_bit(kind, trained, presets, tmp_path):
    recipe = ("gan=0.4", "gan_from=0.5", "perceptual=fashion", "codebook=mean", f"discriminator={kind}")
    options = Options(device="cpu", steps=20, recipe=recipe)

    def run(folder):
        stage1.train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / folder, options)
        return read_model(tmp_path / folder / "model.safetensors")[1]

    whole = run("whole")
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert all("perceptual" in record for record in log)
    assert [record["step"] for record in log if "discriminator" in record] == [15, 20]
    assert all(0 < record["gan_weight"] <= 1e4 for record in log if "gan" in record)

    minimise, calls = stage1.Engine.minimise, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 26:  # ten steps of one, then of two: after the tokenizer's part of step 17
            raise ConnectionError
        return minimise(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(stage1.Engine, "minimise", dies)
        run("broken")
    resumed = run("broken")
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_the_discriminators_rate_falls_with_the_tokenizers(trained, presets, tmp_path, monkeypatch):
    rates, set_rate = [], stage1.TokenizerTraining.set_rate

    def watched(self, optimizer, factor):
        rates.append((optimizer is self.adversary.optimizer, set_rate(self, optimizer, factor)))
        return rates[-1][1]

    monkeypatch.setattr(stage1.TokenizerTraining, "set_rate", watched)
    options = Options(device="cpu", steps=8, recipe=("gan=0.4", "gan_from=0.5"))
    stage1.train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", options)
    tokenizers, adversarys = ([rate for its, rate in rates if its is wanted] for wanted in (False, True))
    assert len(tokenizers) == 8 and adversarys == tokenizers[4:] and adversarys[-1] < 0.3 * adversarys[0]
