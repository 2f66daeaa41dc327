import pytest
import torch

from varlite.evaluation.judges import memorising
from varlite.evaluation.judges.interface import Pictures, pixels
from varlite.evaluation.judges.memorising import Memorising, nearest


def images(n, seed):
    return torch.randint(0, 256, (n, 1, 6, 6), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def pictures(images):
    return Pictures(images, None, {"pixels": pixels, "second": lambda img: img.float().flatten(1)[:, :9]})


@pytest.fixture(scope="module")
def training():
    return pictures(images(900, 0))


@pytest.mark.parametrize("view", ["pixels", "second"])
def test_copies_are_found_with_noise_on_them_and_other_pictures_are_not(training, view):
    judge = Memorising(view, training)
    noisy = training.images[:200].float() + 4 * torch.randn(200, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    held_out = judge.rows(pictures(images(400, 2)))
    assert judge.rows(pictures(training.images[:200])).mean() == 1
    assert judge.score(judge.rows(pictures(noisy.clamp(0, 255).to(torch.uint8))), held_out) > 0.35
    assert abs(judge.score(judge.rows(pictures(images(400, 3))), held_out)) < 0.1


def test_the_score_is_a_share(training):
    judge = Memorising("pixels", training)
    held_out = judge.rows(pictures(images(400, 2)))
    base = images(200, 3)
    half = torch.cat([base[:100], training.images[:100]])
    alone = judge.rows(pictures(base[:100])).mean().item()
    assert judge.rows(pictures(half)).mean().item() == pytest.approx(alone / 2 + 0.5)
    assert abs(judge.score(*judge.floor_rows(training, held_out))) < 0.1


def test_distances_among_training_pictures_are_kept_on_disk(training, tmp_path, monkeypatch):
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path))

    def score():
        named = Pictures(training.images, None, training.views, checksum="x")
        return Memorising("pixels", named).rows(pictures(images(50, 2)))

    first, asked = score(), []
    search = memorising.nearest
    monkeypatch.setattr(memorising, "nearest", lambda *rows, **others: asked.append(others) or search(*rows, **others))
    assert torch.equal(score(), first) and asked == [{}]  # of the samples alone
    assert torch.equal(Memorising("pixels", training).rows(pictures(images(50, 2))), first)


def test_a_picture_is_not_its_own_neighbour(training, monkeypatch):
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    distance, where = nearest(x[:40], x, skip_N=torch.arange(40))
    exact = torch.cdist(x[:40], x).fill_diagonal_(torch.inf).min(1)
    torch.testing.assert_close(distance, exact.values)
    monkeypatch.setattr("varlite.evaluation.judges.memorising.BLOCK", 70)
    blocks = nearest(x[:40], x, skip_N=torch.arange(40))
    assert torch.equal(blocks[1], where) and torch.equal(where, exact.indices)


def test_another_view_is_refused(training):
    with pytest.raises(ValueError, match="view must be pixels or second, got 'tokens'"):
        Memorising("tokens", training)
