import matplotlib.pyplot as plt
import pytest
import torch

from varlite.nb import sampling_figures as figures
from varlite.nb.plots import scale_colours, scale_names
from varlite.nb.widgets.panel import START, changes, sample_stages
from varlite.sampling import generate


def bars(axis):
    return [patch.get_height() for patch in axis.patches]


def test_every_row_of_a_strip_starts_from_the_same_seed(model, tokenizer):
    rows = figures.strip(model, tokenizer, [1, 2, 2], {"a": {}, "b": {"cfg": 5.0}, "again": {}}, seed=4, top_p=0.5)
    assert torch.equal(rows["a"], rows["again"]) and not torch.equal(rows["a"], rows["b"])
    assert torch.equal(rows["b"], generate(model, tokenizer, [1, 2, 2], cfg=5.0, top_p=0.5, seeds=4))
    axes = plt.gcf().axes
    assert [axis.get_ylabel() for axis in axes[::3]] == ["a", "b", "again"]
    assert torch.equal(torch.as_tensor(axes[4].images[0].get_array().data), rows["b"][1, 0])


def test_curves_draw_the_scores_they_return():
    at = [{"accuracy": 0.1 * i, "fd": 2.0 + i, "recall_within_class": 0.9 - i, "precision": 1.0} for i in range(3)]
    data = figures.scores_by_cfg({"one": at, "two": at[::-1]}, [0, 1, 4], at[1])
    assert data["fd"] == {"one": [2.0, 3.0, 4.0], "two": [4.0, 3.0, 2.0]}
    assert data.keys() == figures.SCORES.keys()
    figure = plt.gcf()
    for axis, values in zip(figure.axes, data.values(), strict=True):
        one, two, reference = axis.lines
        assert (list(one.get_xdata()), list(one.get_ydata())) == ([0, 1, 4], values["one"])
        assert list(two.get_ydata()) == values["two"] and reference.get_linestyle() == ":"
        # Told apart without colour
        assert (one.get_linestyle(), one.get_marker()) != (two.get_linestyle(), two.get_marker())
    assert figure.axes[1].get_title() == "FD (fashion features)" and figure.axes[1].get_ylim()[0] == 0
    assert [text.get_text() for text in figure.legends[0].texts] == ["one", "two", "reconstructions"]


def test_curves_have_bars_of_the_spread_at_every_point():
    at = [{"accuracy": 0.5, "fd": 2.0 + i, "recall_within_class": 0.9} for i in range(2)]
    figures.scores_by_cfg({"one": at}, [0, 3], at[0], {"accuracy": 0.1, "fd": 0.5, "recall_within_class": 0.2})
    (bars_of_fd,) = plt.gcf().axes[1].collections
    assert [[tuple(end) for end in bar] for bar in bars_of_fd.get_segments()] == [
        [(0, 1.5), (0, 2.5)], [(3, 2.5), (3, 3.5)],
    ]  # fmt: skip


def test_flips_counts_the_draws_that_came_within_the_noise_of_another_code():
    gap = torch.tensor([0.5, 1e-7, 0.01, 0.2, 1e-5])
    assert figures.flips(gap, 1e-4) == pytest.approx(0.4)
    curve, mark = plt.gca().lines
    assert curve.get_ydata()[-1] == 1 and list(curve.get_xdata()) == gap.sort().values.tolist()
    assert list(mark.get_xdata()) == [1e-4, 1e-4]


def test_the_likeliest_codes_are_those_of_the_first_distribution():
    before, after = torch.tensor([0.1, 0.6, 0.3]), torch.tensor([0.7, 0.1, 0.2])
    shown = figures.likeliest({"before": before, "after": after}, n=2)
    assert shown == {"before": pytest.approx([0.6, 0.3]), "after": pytest.approx([0.1, 0.2])}
    assert bars(plt.gca()) == pytest.approx([0.6, 0.3, 0.1, 0.2])
    assert [label.get_text() for label in plt.gca().get_xticklabels()] == ["1", "2"]


def test_the_static_twin_of_the_panel_shows_every_scale(model, tokenizer):
    result = sample_stages(model, tokenizer, START | {"images": 3})
    images = figures.stages(result)
    assert images.shape == (4, 3, 1, 10, 10) and torch.equal(images[-1], result.images / 255)
    axes = plt.gcf().axes
    assert [axis.get_ylabel() for axis in axes[::3]] == scale_names(model.scales)
    assert [axis.yaxis.label.get_color() for axis in axes[::3]] == scale_colours(4)


def test_the_static_twin_of_what_changed_shows_what_the_panel_compares(model, tokenizer):
    a, b = (sample_stages(model, tokenizer, START | s) for s in ({"images": 3}, {"images": 2, "cfg": 8.0}))
    change = figures.comparison(a, b)
    assert change.settings == changes(a, b).settings
    *pictures, shares = plt.gcf().axes
    assert len(pictures) == 6 and bars(shares) == [differ / of for differ, of in change.tokens]
    assert torch.equal(torch.as_tensor(pictures[4].images[0].get_array().data), change.difference[0, 0] / 255)
