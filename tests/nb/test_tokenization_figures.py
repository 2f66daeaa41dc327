import matplotlib.pyplot as plt
import pytest
import torch
from examples import SIDES

from varlite.nb import tokenization_figures as figures
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def test_each_place_of_the_plane_belongs_to_its_nearest_code():
    codes_V2 = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.9]])
    owner = figures.cells(torch.zeros(4, 2), codes_V2, side=5)
    assert owner.shape == (5, 5)
    assert owner[0].tolist() == [0, 0, 0, 1, 1]  # y = -1; the tie in the middle goes to the first
    assert (owner[4, 2], owner[2, 0], owner[2, 4]) == (2, 0, 1)


def test_a_mosaic_keeps_every_tile_and_leaves_a_line_between_them():
    tiles = torch.arange(5.0)[:, None, None].expand(5, 2, 3) / 8
    page = figures.mosaic(tiles, columns=3)
    assert page.shape == (7, 13)
    for i, (y, x) in enumerate([(1, 1), (1, 5), (1, 9), (4, 1), (4, 5)]):
        assert torch.equal(page[y : y + 2, x : x + 3], tiles[i])
    assert (page[0] == 1).all() and (page[:, 4] == 1).all() and (page[4:6, 9:] == 1).all()


def test_usage_counts_codes_and_perplexity_by_scale():
    counts_KV = torch.tensor([[4, 0, 0, 0], [2, 2, 0, 0], [1, 1, 1, 1], [8, 4, 2, 2]]).float()
    used_K, perplexity_K = figures.usage(counts_KV, SCALES)
    assert used_K == [1, 2, 4, 4]
    assert perplexity_K == pytest.approx([1, 2, 4, 2**1.75])
    left, right = plt.gcf().axes
    assert list(left.lines[3].get_ydata()) == [0.5, 0.25, 0.125, 0.125]
    assert [bar.get_height() for bar in right.patches] == pytest.approx(used_K + perplexity_K)


def test_favourites_compare_shares_so_that_fine_scales_do_not_drown_coarse_ones():
    counts_KV = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 10], [0, 100, 0, 0], [0, 300, 0, 100]]).float()
    p_KV = figures.favourites(counts_KV, SCALES)
    torch.testing.assert_close(p_KV.sum(0), torch.ones(3))  # the code that nobody used is left out
    torch.testing.assert_close(p_KV[:, 0], torch.tensor([1.0, 0, 0, 0]))  # code 2, the coarsest scale's own
    torch.testing.assert_close(p_KV[:, 1], torch.tensor([0.5, 1, 0, 0.25]) / 1.75)


def test_the_price_is_drawn_in_decibels_of_images_in_minus_one_to_one():
    psnr_K = figures.price([9, 18, 36, 72], [5, 10, 20, 40], [4, 0.4, 0.04, 0.004], {"other": [(8, 0.04)]}, SCALES)
    assert psnr_K == pytest.approx([0, 10, 20, 30])
    other, coded, plain = plt.gca().lines
    assert list(other.get_ydata()) == pytest.approx([20])
    assert list(coded.get_xdata()) == [5, 10, 20, 40] and list(plain.get_xdata()) == [9, 18, 36, 72]
