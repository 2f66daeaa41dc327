import pytest
import torch

from varlite.experiments.corruptions import CORRUPTIONS, Material, smoothed


def images(n, seed):
    return torch.randint(0, 256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@pytest.fixture(scope="module")
def material():
    labels = torch.arange(100) % 10
    return Material(
        images(100, 0), labels, images(200, 1), torch.arange(200) % 10, images(300, 2), torch.arange(300) % 10, 0
    )


def kinds(x):
    return {img.numpy().tobytes() for img in x}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_gives_as_many_bytes_the_same_again_and_more_change_with_strength(material, name):
    corrupt, strengths = CORRUPTIONS[name]
    changes = []
    for strength in strengths:
        x, labels = corrupt(material, strength)
        again = corrupt(material, strength)
        assert torch.equal(x, again[0]) and torch.equal(labels, again[1])
        assert x.shape == material.images.shape and x.dtype == torch.uint8 and len(labels) == len(x)
        changes.append((x.float() - material.images.float()).abs().mean().item())
    assert 0 < changes[0] < changes[1] < changes[2]


def test_dropped_classes_are_gone_and_others_are_real_pictures_of_their_class(material):
    x, labels = CORRUPTIONS["dropped"][0](material, 2)
    assert labels.min() == 2 and kinds(x) <= kinds(material.images) | kinds(material.spare)


def test_duplicates_are_of_the_own_class(material):
    x, labels = CORRUPTIONS["duplicated"][0](material, 0.8)
    assert len(kinds(x)) == 20 and torch.equal(labels, material.labels)
    for c in range(10):
        assert kinds(x[labels == c]) <= kinds(material.images[material.labels == c])


def test_memorised_pictures_are_training_pictures_of_the_class(material):
    x, labels = CORRUPTIONS["memorised"][0](material, 1.0)
    for c in range(10):
        assert kinds(x[labels == c]) <= kinds(material.training[material.training_labels == c])
    assert len(kinds(x)) == 100


def test_a_flat_picture_stays_flat_under_blur_and_a_point_spreads():
    flat = torch.full((1, 3, 9, 12), 77, dtype=torch.uint8)
    torch.testing.assert_close(smoothed(flat, 1.5), flat.float())
    point = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
    point[..., 7, 7] = 200
    blurred = smoothed(point, 1.0)
    assert blurred.sum() == pytest.approx(200, rel=0.01) and blurred[0, 0, 7, 7] == pytest.approx(200 / 6.28, rel=0.05)
