import numpy as np
import pytest
import torch

from varlite.evaluation.fidelity import frechet_distance, precision_recall, statistics


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
