import numpy as np
import pytest
import torch
import torch.nn.functional as F
from examples import SCHEDULES, SIDES

from varlite.quantizer import MultiScaleQuantizer, Phi, phi_index
from varlite.scales import Scales


def quantizer(sides=SIDES, **settings):
    torch.manual_seed(0)
    return MultiScaleQuantizer(24, 8, Scales.of(sides), **settings)


def test_the_published_sharing_of_phis_over_ten_scales():
    assert [phi_index(k, 10, 4) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


# At K = 3 and 5 the middle scale is a tie on paper, as two scales of the published ten are.
@pytest.mark.parametrize(("K", "expected"), [(2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 2, 3])])
def test_four_phis_are_spread_over_fewer_scales(K, expected):
    assert [phi_index(k, K, 4) for k in range(K)] == expected


def test_zero_gives_each_scale_its_own_phi_one_gives_all_the_same_and_others_their_nearest_tick():
    assert [phi_index(k, 7, 0) for k in range(7)] == list(range(7))
    assert [phi_index(k, 7, 1) for k in range(7)] == [0] * 7
    assert [phi_index(k, 7, 2) for k in range(7)] == [0, 0, 0, 0, 1, 1, 1]
    assert [phi_index(k, 9, 3) for k in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for shared, phis in ((0, 4), (1, 1), (3, 3), (4, 4)):
        assert len(quantizer(phi_shared=shared).phis) == phis


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.3, 1.0])
def test_phi_mixes_a_map_with_its_convolution(ratio):
    torch.manual_seed(0)
    phi, h = Phi(8, ratio), torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(phi(h), (1 - ratio) * h + ratio * F.conv2d(h, phi.conv.weight, phi.conv.bias, padding=1))


def test_the_nearest_code_is_that_of_brute_force():
    q, z_XZ = quantizer(), torch.randn(500, 8)
    distances_XV = (z_XZ[:, None].double() - q.codebook.weight[None].double()).square().sum(-1)
    assert torch.equal(q.nearest(z_XZ), distances_XV.argmin(1))


def test_with_znorm_the_nearest_code_is_that_of_the_smallest_angle_whatever_the_lengths():
    q, z_XZ = quantizer(znorm=True), torch.randn(500, 8)
    codes = q.codebook.weight.double()
    cosine_XV = (z_XZ.double() @ codes.T) / (z_XZ.double().norm(dim=1)[:, None] * codes.norm(dim=1))
    assert torch.equal(q.nearest(z_XZ), cosine_XV.argmax(1))
    assert torch.equal(q.nearest(z_XZ), q.nearest(7 * z_XZ))
    assert not torch.equal(q.nearest(z_XZ), quantizer().nearest(z_XZ))


@pytest.mark.parametrize("sides", SCHEDULES)
@pytest.mark.parametrize("znorm", [False, True])
def test_every_scale_quantizes_what_the_coarser_ones_left(sides, znorm):
    scales, q = Scales.of(sides), quantizer(sides, znorm=znorm)
    f = torch.randn(2, 8, *scales.last)
    idx, f_hats = q.encode(f, scales)
    f_hat = torch.zeros_like(f)
    for k, (h, w) in enumerate(scales.shapes):
        rest = f - f_hat
        small = F.adaptive_avg_pool2d(rest, (h, w))
        z_XZ = small.permute(0, 2, 3, 1).reshape(-1, 8)
        assert torch.equal(idx[k].flatten(), q.nearest(z_XZ))
        maps = q.codebook.weight[idx[k]].reshape(2, h, w, 8).permute(0, 3, 1, 2)
        if (h, w) != scales.last:
            maps = F.interpolate(maps, size=scales.last, mode="bicubic")
        ticks = np.linspace(1 / 12, 1 - 1 / 12, 4)
        f_hat = f_hat + q.phis[int(np.abs(ticks - k / (scales.K - 1)).argmin())](maps)
        torch.testing.assert_close(f_hats[k], f_hat)
    assert len(idx) == len(f_hats) == scales.K


def test_the_last_scale_never_makes_the_error_larger_where_one_code_is_zero():
    q = quantizer(phi_ratio=0.0)
    with torch.no_grad():
        q.codebook.weight[0] = 0
        f = 2 * torch.randn(4, 8, 5, 5)
        errors = [(f - f_hat).square().mean((1, 2, 3)) for f_hat in q.encode(f, Scales.of(SIDES))[1]]
    assert (errors[-1] < errors[-2]).all()


def test_encoding_is_differentiable_in_the_codes_and_phis_and_not_in_the_features():
    q, f = quantizer(), torch.randn(1, 8, 5, 5, requires_grad=True)
    idx, f_hats = q.encode(f, Scales.of(SIDES))
    f_hats[-1].square().sum().backward()
    assert f.grad is None
    used_V = torch.zeros(24, dtype=torch.bool).index_fill(0, torch.cat(idx, 1).flatten(), True)
    assert torch.equal(q.codebook.weight.grad.any(1), used_V)
    assert all(phi.conv.weight.grad.any() for phi in q.phis)


def test_the_next_input_is_the_area_average_of_the_sum_so_far():
    q, scales, f_hat = quantizer(), Scales.of(SIDES), torch.randn(2, 8, 5, 5)
    for k, (h, w) in enumerate(scales.shapes[1:]):
        expected = F.adaptive_avg_pool2d(f_hat, (h, w)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(q.next_input(f_hat, k, scales), expected)
