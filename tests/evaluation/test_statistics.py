import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from varlite.evaluation import statistics as fidelity
from varlite.evaluation.feature_store import Rows
from varlite.evaluation.statistics import frechet_distance, inception_score, kid, precision_recall, statistics


def gaussian(n=400, width=1.0, seed=0, dims=6):
    return width * torch.randn(n, dims, generator=torch.Generator().manual_seed(seed))


def test_the_distance_of_two_gaussians_is_the_closed_form():
    r = np.random.RandomState(0)
    a, b = (r.standard_normal((5, 5)) for _ in range(2))
    sigma = {"a": a @ a.T, "b": b @ b.T}
    mu = {"a": r.standard_normal(5).astype(np.float32), "b": r.standard_normal(5).astype(np.float32)}
    root_trace = np.sqrt(np.linalg.eigvals(sigma["a"] @ sigma["b"]).real).sum()
    expected = ((mu["a"] - mu["b"]) ** 2).sum() + np.trace(sigma["a"] + sigma["b"]) - 2 * root_trace
    ours = frechet_distance(*({"mu": mu[x], "sigma": sigma[x]} for x in "ab"))
    assert ours == pytest.approx(expected, rel=1e-5)


def test_a_shift_costs_its_square_and_another_width_the_square_of_the_difference():
    x = gaussian()
    assert frechet_distance(statistics(x), statistics(x + 2)) == pytest.approx(6 * 4, rel=1e-3)
    widths = statistics(x)["sigma"].diagonal().sum()  # tr (s - 3 s)^2 = 4 tr s^2
    assert frechet_distance(statistics(x), statistics(3 * x)) == pytest.approx(4 * widths, rel=1e-2)


def test_equal_sets_are_at_distance_zero_and_have_full_precision_and_recall():
    x = gaussian()
    assert abs(frechet_distance(statistics(x), statistics(x.flip(0)))) < 1e-3
    assert precision_recall(x, x) == (1.0, 1.0)
    assert abs(kid(x, x.flip(0), subsets=20, size=200)[0]) < 0.01 * kid(x, x + 1, subsets=20, size=200)[0]


def test_statistics_are_mean_and_unbiased_covariance():
    x = gaussian(50)
    found = statistics(x)
    np.testing.assert_allclose(found["mu"], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["sigma"], torch.cov(x.T.double()), rtol=1e-5)


def test_narrow_samples_are_precise_and_wide_ones_have_recall():
    real = gaussian(seed=1)
    narrow, wide = (precision_recall(gaussian(width=width, seed=2), real) for width in (0.2, 3.0))
    assert narrow[0] > 0.95 > 0.3 > narrow[1]
    assert wide[1] > 0.9 > 0.4 > wide[0]
    assert precision_recall(gaussian() + 100, real) == (0.0, 0.0)


@pytest.mark.parametrize("features", [torch.zeros(1, 4), torch.zeros(4), torch.zeros(0, 4)])
def test_too_few_features_are_refused(features):
    with pytest.raises(ValueError, match=r"features must be \(N, X\) with N of at least 2, got"):
        statistics(features)


def sorted_logits(n=600, classes=10):
    """Sure answers, sorted by class."""
    noise = 0.3 * torch.randn(n, classes, generator=torch.Generator().manual_seed(3))
    return noise + 6 * torch.eye(classes).repeat_interleave(n // classes, 0)


def test_the_order_of_classes_does_not_change_the_inception_score():
    logits = sorted_logits()
    mixed = logits[torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))]
    assert inception_score(logits)[0] == pytest.approx(inception_score(mixed)[0], rel=0.05)
    # A part of images sorted by class holds one class: the trap.
    assert inception_score(logits, shuffle=False)[0] < 1.5 < 6 < inception_score(logits)[0]


@pytest.mark.parametrize(("images", "parts"), [(600, 10), (4990, 10), (5000, 1), (9990, 1), (10_000, 2)])
def test_the_inception_score_takes_parts_of_5000_images_as_adm_does_and_ten_of_fewer(images, parts):
    logits = sorted_logits(images)
    assert inception_score(logits) == inception_score(logits, parts)


def test_rounding_takes_no_distance_below_zero():
    for seed in range(5):
        few = statistics(gaussian(10, seed=seed, dims=40))
        assert 0 <= frechet_distance(few, few) < 1e-3


@pytest.mark.parametrize("block", [7, 100, 2000])
def test_scores_are_those_of_torch_fidelity_however_rows_are_cut(monkeypatch, tmp_path, block):
    monkeypatch.setattr(fidelity, "BLOCK", block)
    fake, real, logits = gaussian(331, seed=1, dims=12), gaussian(290, 1.3, seed=2, dims=12), sorted_logits(600)
    on_disk = []
    for name, x in (("fake", fake), ("real", real), ("logits", logits)):
        on_disk.append(Rows(tmp_path / name, tuple(x.shape)))
        on_disk[-1].create()
        on_disk[-1].write(0, x)
    quiet = {"verbose": False}
    prc = prc_features_to_metric(fake, real, save_cpu_ram=False, **quiet)
    kernel = kid_features_to_metric(fake, real, kid_subsets=10, kid_subset_size=200, **quiet)
    isc = isc_features_to_metric(logits)
    for a, b, c in ((fake, real, logits), on_disk):
        assert precision_recall(a, b) == pytest.approx((prc["precision"], prc["recall"]), abs=1e-7)
        assert 0.1 < prc["recall"] < prc["precision"] < 0.99
        assert kid(a, b, 10, 200) == pytest.approx(tuple(kernel.values()), rel=1e-6)
        assert inception_score(c) == pytest.approx(tuple(isc.values()), rel=1e-9)
        np.testing.assert_allclose(statistics(a)["sigma"], np.cov(fake.numpy(), rowvar=False), rtol=1e-10, atol=1e-12)


def test_rows_on_disk_are_read_like_a_tensor(tmp_path):
    x = gaussian(20)
    rows = Rows(tmp_path / "rows", tuple(x.shape))
    rows.create()
    assert len(rows) == 20 and not rows[:].any()
    for start in (15, 0, 10, 5):
        rows.write(start, x[start : start + 5])
    numbers = torch.tensor([3, 1, 19])
    assert torch.equal(rows[:], x) and torch.equal(rows[4:9], x[4:9]) and torch.equal(rows[numbers], x[numbers])
    assert torch.equal(rows[x[:, 0] > 0], x[x[:, 0] > 0])


def test_statistics_of_other_features_and_too_few_neighbours_are_refused():
    with pytest.raises(ValueError, match="statistics of different features: 4 of them and 6"):
        frechet_distance(statistics(gaussian(dims=4)), statistics(gaussian()))
    with pytest.raises(ValueError, match=r"generated must be \(N, X\) with N of at least 4, got \(3, 6\)"):
        precision_recall(gaussian(3), gaussian())
    with pytest.raises(ValueError, match=r"logits must be \(N, X\) with N of at least 10"):
        inception_score(gaussian(9))


def test_a_distance_of_nothing_that_is_a_number_is_no_zero():
    some = {"mu": np.zeros(3), "sigma": np.eye(3)}
    with pytest.raises(ValueError, match="statistics: mean or covariance of one of them holds NaN or infinity"):
        frechet_distance(some, some | {"mu": np.full(3, np.nan)})
