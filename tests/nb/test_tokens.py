import math

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from tiny import SIDES, tiny_images

from varlite.nb import tokens
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def test_each_place_of_the_plane_belongs_to_its_nearest_code():
    codes_V2 = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.9]])
    owner = tokens.cells(torch.zeros(4, 2), codes_V2, side=5)
    assert owner.shape == (5, 5)
    assert owner[0].tolist() == [0, 0, 0, 1, 1]  # y = -1; the tie in the middle goes to the first
    assert (owner[4, 2], owner[2, 0], owner[2, 4]) == (2, 0, 1)


def test_curves_are_drawn_as_given_and_told_apart_without_colour():
    tokens.curves({"a": [4, 3, 2, 1], "b": [5, 4, 3, 2]}, SCALES, "error")
    a, b = plt.gca().lines
    assert list(a.get_ydata()) == [4, 3, 2, 1] and list(b.get_ydata()) == [5, 4, 3, 2]
    assert (a.get_marker(), a.get_linestyle()) != (b.get_marker(), b.get_linestyle())


def test_a_mosaic_keeps_every_tile_and_leaves_a_line_between_them():
    tiles = torch.arange(5.0)[:, None, None].expand(5, 2, 3) / 8
    page = tokens.mosaic(tiles, columns=3)
    assert page.shape == (7, 13)
    for i, (y, x) in enumerate([(1, 1), (1, 5), (1, 9), (4, 1), (4, 5)]):
        assert torch.equal(page[y : y + 2, x : x + 3], tiles[i])
    assert (page[0] == 1).all() and (page[:, 4] == 1).all() and (page[4:6, 9:] == 1).all()


def test_usage_counts_codes_and_perplexity_by_scale():
    counts_KV = torch.tensor([[4, 0, 0, 0], [2, 2, 0, 0], [1, 1, 1, 1], [8, 4, 2, 2]]).float()
    used_K, perplexity_K = tokens.usage(counts_KV, SCALES)
    assert used_K == [1, 2, 4, 4]
    assert perplexity_K == pytest.approx([1, 2, 4, 2**1.75])
    left, right = plt.gcf().axes
    assert list(left.lines[3].get_ydata()) == [0.5, 0.25, 0.125, 0.125]
    assert [bar.get_height() for bar in right.patches] == pytest.approx(used_K + perplexity_K)


def test_favourites_compare_shares_so_that_fine_scales_do_not_drown_coarse_ones():
    counts_KV = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 10], [0, 100, 0, 0], [0, 300, 0, 100]]).float()
    p_KV = tokens.favourites(counts_KV, SCALES)
    torch.testing.assert_close(p_KV.sum(0), torch.ones(3))  # the code that nobody used is left out
    torch.testing.assert_close(p_KV[:, 0], torch.tensor([1.0, 0, 0, 0]))  # code 2, the coarsest scale's own
    torch.testing.assert_close(p_KV[:, 1], torch.tensor([0.5, 1, 0, 0.25]) / 1.75)


def test_the_price_is_drawn_in_decibels_of_images_in_minus_one_to_one():
    psnr_K = tokens.price([9, 18, 36, 72], [5, 10, 20, 40], [4, 0.4, 0.04, 0.004], {"other": [(8, 0.04)]}, SCALES)
    assert psnr_K == pytest.approx([0, 10, 20, 30])
    other, coded, plain = plt.gca().lines
    assert list(other.get_ydata()) == pytest.approx([20])
    assert list(coded.get_xdata()) == [5, 10, 20, 40] and list(plain.get_xdata()) == [9, 18, 36, 72]


def test_a_fitted_quantizer_beats_its_start_and_phi_lowers_the_error():
    f = F.pixel_unshuffle(tiny_images(300, side=10), 2)
    errors = {}
    for ratio, steps in ((0.0, 0), (0.0, 60), (0.5, 60)):
        quantizer = tokens.fit_quantizer(f, SCALES, phi_shared=4, phi_ratio=ratio, V=16, steps=steps)
        assert not any(p.requires_grad for p in quantizer.parameters())
        errors[ratio, steps] = F.mse_loss(quantizer.encode(f, SCALES)[1][-1], f).item()
    assert errors[0.5, 60] < errors[0.0, 60] < errors[0.0, 0]


def test_without_phi_the_sum_is_that_of_the_enlarged_codes():
    f = F.pixel_unshuffle(tiny_images(20, side=10), 2)
    quantizer = tokens.fit_quantizer(f, SCALES, phi_shared=1, phi_ratio=0.0, V=16, steps=1)
    idx, f_hats = quantizer.encode(f, SCALES)
    maps = [quantizer.codebook(i).mT.unflatten(2, shape) for i, shape in zip(idx, SCALES.shapes, strict=True)]
    total = sum(F.interpolate(m, size=SCALES.last, mode="bicubic") for m in maps)
    torch.testing.assert_close(f_hats[-1], total)
    assert len(quantizer.phis) == 1 and math.isclose(quantizer.phis[0].ratio, 0)
