import json
from urllib.error import URLError

import pytest
import torch
import torch_fidelity.sample_similarity_lpips as lpips
from examples import tiny_images

from varlite.io.files import read_model
from varlite.training import train_tokenizer as stage1
from varlite.training.losses import LPIPS, PatchDiscriminator, adaptive_weight, hinge_loss, perceptual_loss
from varlite.training.options import Options


@pytest.fixture(scope="module")
def features():
    return perceptual_loss("fashion")


def test_the_feature_distance_is_zero_for_equal_images_and_grows_with_the_noise(features):
    img = tiny_images(4, side=28)
    noise = torch.randn(img.shape, generator=torch.Generator().manual_seed(0))
    distances = [features(img, img + level * noise).item() for level in (0, 0.05, 0.2, 0.8)]
    assert distances[0] == 0 and distances == sorted(distances) and distances[3] > 4 * distances[1]
    assert features(img, img + noise) == pytest.approx(features(img + noise, img).item(), rel=1e-5)


@pytest.mark.parametrize("channels, side", [(1, 28), (3, 28), (3, 64), (1, 8)])
def test_the_feature_distance_takes_any_size_grey_or_colour_and_gives_a_gradient(features, channels, side):
    a, b = torch.rand(2, channels, side, side, requires_grad=True), torch.rand(2, channels, side, side)
    features(a, b).backward()
    assert a.grad.isfinite().all() and a.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in features.parameters())


def test_the_networks_own_statistics_stay_as_they_are_in_training(features):
    before = {name: t.clone() for name, t in features.state_dict().items()}
    features.train()(torch.rand(2, 1, 28, 28), torch.rand(2, 1, 28, 28))
    assert all(torch.equal(t, before[name]) for name, t in features.state_dict().items())


def test_no_perceptual_loss_is_none():
    assert perceptual_loss("none") is None


def test_without_a_network_lpips_is_refused_with_the_way_out(monkeypatch, trained, presets, tmp_path):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(lpips, "load_state_dict_from_url", offline)
    options = Options(device="cpu", recipe=("perceptual=lpips",))
    with pytest.raises(
        ValueError, match=r"LPIPS could not be fetched .*no route to host.* --recipe perceptual=fashion"
    ):
        stage1.train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_lpips_is_that_of_torch_fidelity_on_bytes(monkeypatch):
    # Its weights cannot be had in a test: random ones show that ranges and channels arrive as it wants them.
    torch.manual_seed(0)
    shapes = {f"lin{i}.model.1.weight": (1, n, 1, 1) for i, n in enumerate((64, 128, 256, 512, 512))}
    weights = {name: torch.rand(shape) for name, shape in shapes.items()}
    monkeypatch.setattr(lpips, "load_state_dict_from_url", lambda *_, **__: weights)
    from torchvision.models import vgg16

    monkeypatch.setattr(lpips, "torchvision_load_pretrained_vgg16", vgg16)
    ours = LPIPS()
    grey = torch.randint(256, (2, 1, 32, 32)).float()
    other = torch.randint(256, (2, 1, 32, 32)).float()
    x = (grey / 127.5 - 1).requires_grad_()
    distance = ours(x, other / 127.5 - 1)
    expected = ours.net(grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1)).mean()
    assert distance.item() == pytest.approx(expected.item(), rel=1e-4)
    distance.backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("side, patches", [(28, 5), (32, 2), (64, 6), (256, 30), (10, 3)])
def test_the_discriminator_judges_patches_and_each_image_alone(side, patches):
    torch.manual_seed(0)
    net, img = PatchDiscriminator(1, (side, side)), torch.rand(2, 1, side, side)
    logits = net(img)
    assert logits.shape == (2, 1, patches, patches)
    torch.testing.assert_close(net(img[:1]), logits[:1])


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


def test_the_adversary_joins_late_and_everything_resumes_bit_for_bit(trained, presets, tmp_path):
    options = Options(device="cpu", steps=20, recipe=("gan=0.4", "gan_from=0.5", "perceptual=fashion", "codebook=mean"))

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
