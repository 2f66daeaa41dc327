from urllib.error import URLError

import pytest
import torch
import torch_fidelity.sample_similarity_lpips as lpips
from examples import tiny_images

from varlite.training import train_tokenizer as stage1
from varlite.training.options import Options
from varlite.training.perceptual import LPIPS, perceptual_loss


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
