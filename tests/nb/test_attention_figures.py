import matplotlib.pyplot as plt
import pytest
import torch
from examples import SIDES

from varlite.nb import attention_figures as figures
from varlite.scales import Scales


def test_the_steps_of_sampling_together_are_the_mask():
    scales = Scales.of(SIDES)
    cells_KLL = figures.cache_steps(scales)
    assert torch.equal(cells_KLL.sum(0) > 0, scales.block_causal_mask())
    for (start, end), cells_LL in zip(scales.spans, cells_KLL, strict=True):
        assert (cells_LL[start:end, :start] == 1).all() and (cells_LL[start:end, start:end] == 2).all()


def test_the_map_over_scales_shows_a_tokens_shares_and_says_which_scales_are_hidden():
    scales = Scales.of((1, 2, 3))
    weights_LL = torch.zeros(14, 14)
    weights_LL[2, :5] = torch.tensor([0.2, 0.1, 0.1, 0.5, 0.1])
    shares = figures.over_scales(weights_LL, scales, query=2)
    assert shares == pytest.approx([0.2, 0.8, 0.0])
    assert [axis.get_title() for axis in plt.gcf().axes] == ["1 x 1\n20%", "2 x 2\n80%", "hidden"]


def test_the_figure_on_pictures_draws_the_rows_of_the_chosen_queries():
    weights_Bll = torch.rand(2, 6, 6)
    maps = figures.on_picture(list(torch.rand(2, 1, 4, 6)), weights_Bll, [5, 0], (2, 3))
    assert torch.equal(maps[1, 0], weights_Bll[1, 5].view(2, 3))
    drawn = plt.gcf().axes[4].get_images()[0].get_array()
    assert torch.equal(torch.tensor(drawn.data), maps[1, 0])


def test_masks_are_coloured_by_the_scale_of_the_key():
    scales = Scales.of((1, 2))
    figures.masks({"one": scales.block_causal_mask(), "all": torch.ones(5, 5).bool()}, scales)
    first, second = (axis.get_images()[0].get_array().tolist() for axis in plt.gcf().axes)
    assert first == [[1, 0, 0, 0, 0]] + [[1, 2, 2, 2, 2]] * 4 and second == [[1, 2, 2, 2, 2]] * 5
    assert plt.gcf().axes[0].get_title() == "one: 84% visible"


def test_matrices_show_their_numbers_and_mark_exact_zeros():
    figures.between_scales({"m": torch.tensor([[1.0, 0.0], [0.25, 0.75]])}, Scales.of((1, 2)))
    assert sorted(text.get_text() for text in plt.gca().texts) == ["0", "100", "25", "75"]


def test_gradient_maps_say_where_they_are_exactly_zero():
    scales = Scales.of((1, 2))
    figures.dependence({"a": [torch.ones(1, 1), torch.zeros(2, 2)]}, scales, {"a": 1})
    assert [text.get_text() for axis in plt.gcf().axes for text in axis.texts] == ["exactly 0"]


def test_heads_and_shares_are_drawn_as_given():
    scales = Scales.of((1, 2))
    figures.layers_and_heads({"layer 1": torch.rand(3, 5, 5), "layer 4": torch.rand(3, 5, 5)}, scales)
    assert len(plt.gcf().axes) == 6
    figures.stacked_shares({"a": (0.25, 0.75), "b": (0.5, 0.3, 0.2)}, ["x", "y", "z"])
    assert [bar.get_width() for bar in plt.gca().patches] == pytest.approx([0.25, 0.5, 0.75, 0.3, 0, 0.2])
