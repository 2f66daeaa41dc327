import matplotlib.pyplot as plt
import numpy as np
import torch

from varlite.checkpoints.load import load
from varlite.nb import mvar_figures as figures
from varlite.sampling import generate
from varlite.scales import Scales

SCALES = Scales.of([1, 2, 3])


def drawn_axes():
    return plt.gcf().axes


def heights(axis):
    return [[bar.get_height() for bar in group] for group in axis.containers]


def test_the_pieces_are_blocks_on_the_diagonal_and_the_state_is_what_lies_below():
    cells_LL = figures.scan_pieces(SCALES)
    level_L = SCALES.levels()
    assert torch.equal(cells_LL > 0, torch.ones(14, 14).tril() > 0)
    assert torch.equal(cells_LL == 1, level_L[:, None] > level_L)
    assert (drawn_axes()[0].images[0].get_array() == cells_LL.numpy()).all()


def test_scanned_tokens_are_the_new_ones_or_all_so_far():
    counts = figures.scanned_tokens(SCALES)
    assert counts == {"carried": [1, 4, 9], "rescanned": [1, 5, 14]}
    assert heights(drawn_axes()[0]) == list(counts.values())
    assert [text.get_text() for text in drawn_axes()[0].get_legend().get_texts()] == [
        "carried: 14 in all", "rescanned: 20 in all"
    ]  # fmt: skip


def test_times_are_drawn_scale_by_scale_and_the_ratios_returned():
    ms = {"carried": [1.0, 2.0, 4.0], "rescanned": [1.0, 3.0, 10.0]}
    found = {"config": {"sides": [1, 2, 3]}, "ms_per_scale": ms, "speedup": 2.0}
    assert figures.time_per_scale({"a": found, "b": found}) == {"a": [1, 1.5, 2.5], "b": [1, 1.5, 2.5]}
    assert [axis.get_title() for axis in drawn_axes()] == [f"{name}: carried 2.00 times as fast" for name in "ab"]
    assert all(heights(axis) == list(ms.values()) for axis in drawn_axes())


def test_the_share_of_the_state_is_a_row_for_each_head():
    share_HK = torch.linspace(0, 1, 12).view(4, 3)
    figures.retained(share_HK, SCALES, heads=2)
    axis = drawn_axes()[0]
    np.testing.assert_allclose(axis.collections[0].get_array().reshape(4, 3), share_HK * 100)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["layer 1", "layer 2"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1 x 1", "2 x 2", "3 x 3"]


def test_models_are_joined_in_the_order_of_their_size_and_named():
    families = {"VAR": {"var-d6": (6.0, 1.0), "var-d1": (1.0, 3.0)}, "M-VAR": {"mvar-d2": (2.0, 2.5)}}
    figures.by_parameters({"loss": families, "FID": families})
    axis = drawn_axes()[0]
    assert [list(zip(*line.get_data(), strict=True)) for line in axis.lines] == [[(1, 3), (6, 1)], [(2, 2.5)]]
    assert {text.get_text(): text.xy for text in axis.texts} == {"d6": (6, 1), "d1": (1, 3), "d2": (2, 2.5)}


def test_a_signed_matrix_has_white_at_zero_and_an_unsigned_one_is_darker_for_more():
    figures.matrices({"signed": torch.eye(14) - 0.25 * torch.ones(14, 14), "not": torch.eye(14)}, SCALES)
    signed, unsigned = (axis.images[0] for axis in drawn_axes())
    assert signed.get_clim() == (-1, 1) and unsigned.get_clim() == (0, 1)
    assert signed.get_array().max() == 1  # the largest in size
    assert torch.equal(torch.from_numpy(np.asarray(unsigned.get_array())), torch.eye(14))


def test_var_looks_back_at_every_map_and_m_var_hears_of_the_one_before():
    drawn = figures.two_ways(SCALES)
    assert drawn == {"VAR": [(1, 0), (2, 0), (2, 1)], "M-VAR": [(1, 0), (2, 1)]}
    assert [len(axis.patches) for axis in drawn_axes()] == [3, 3]
    assert "1 x 1" in {text.get_text() for text in drawn_axes()[0].texts}


def test_what_is_taken_away_is_put_back():
    model, tokenizer = load("fashion-mvar-d4")
    rows = figures.taken_away(model, tokenizer, [9])
    assert list(rows) == ["as it is", "nothing carried", "no Mamba layers"]
    assert not torch.equal(rows["as it is"], rows["no Mamba layers"])
    assert torch.equal(rows["as it is"], generate(model, tokenizer, [9], seeds=0))
