import pytest
import torch

from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, directions, projection_views


def normal(n, p=3, seed=0):
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed))


def sliced_w2(x_NP, y_MP):
    return SlicedWasserstein("sw_pixels").score(x_NP, y_MP) / 1000


def test_a_shift_costs_its_square_whatever_the_order_of_rows():
    x = normal(500)
    assert sliced_w2(x, x.flip(0)) == 0
    assert sliced_w2(x, x.flip(0) + 2) == pytest.approx(4, rel=1e-5)


def test_it_is_the_exact_distance_of_two_sorted_sets():
    x, y = normal(400, 5, 1), 2 * normal(400, 5, 2)
    exact = (x.sort(0).values - y.sort(0).values).square().mean().item()
    assert sliced_w2(x, y) == pytest.approx(exact, rel=1e-5)


def test_unequal_numbers_are_compared_as_if_each_row_stood_several_times():
    x, y = normal(100, seed=1), normal(200, seed=2)
    assert sliced_w2(x, y) == pytest.approx(sliced_w2(x.repeat(2, 1), y), rel=1e-5)
    assert sliced_w2(x, torch.cat([x, x, x])) < 1e-3


def test_directions_are_units_the_same_each_time_and_of_patches_without_brightness():
    a, b = directions(7, 49, 0), directions(7, 49, 0, zero_sum=True)
    assert torch.equal(a, directions(7, 49, 0)) and not torch.equal(a, directions(7, 49, 1))
    torch.testing.assert_close(a.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(b.sum(1), torch.zeros(7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels, size", [(1, (28, 28)), (3, (20, 33))])
def test_patches_do_not_see_brightness_and_pixels_do(channels, size):
    images = torch.randint(50, 150, (60, channels, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    views = projection_views(channels, size)
    plain, bright = Pictures(images, None, views), Pictures(images + 40, None, views)
    patches, pixels = SlicedWasserstein("sw_patches"), SlicedWasserstein("sw_pixels")
    assert patches.score(patches.rows(bright), patches.rows(plain)) < 1e-6
    assert pixels.score(pixels.rows(bright), pixels.rows(plain)) > 1
    judge = pixels.against(pixels.rows(plain))
    assert judge(pixels.rows(bright)) == pixels.score(pixels.rows(bright), pixels.rows(plain))


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match=r"rows must be \(N, P\) with N of at least 1, got \(0, 3\)"):
        sliced_w2(torch.zeros(0, 3), normal(5))
