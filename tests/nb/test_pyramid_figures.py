import matplotlib.pyplot as plt
import pytest
import torch
from examples import SIDES

from varlite.nb import pyramid_figures as figures
from varlite.nb.pyramid import sample_pyramid
from varlite.scales import Scales


def test_the_picture_of_a_token_has_its_attention_by_scale_and_hides_finer_ones(model, tokenizer):
    sample = sample_pyramid(model, tokenizer, 3, 5)
    shares = figures.draw_scales(plt.figure(), sample, tokenizer, 2, 4, layer=0)
    row_L = sample.attention_DLL[0, sample.scales.spans[2][0] + 4]
    assert shares == pytest.approx([part.sum().item() for part in row_L.split(sample.scales.lengths)])
    axes = plt.gcf().axes
    assert [axis.get_title() for axis in axes[4:8]] == [f"{share:.0%}" for share in shares[:3]] + ["hidden"]
    assert "layer 1" in axes[4].get_ylabel()
    drawn = torch.tensor(axes[6].images[0].get_array().data)
    assert torch.equal(drawn, row_L.split(sample.scales.lengths)[2].view(3, 3))


def test_verdicts_are_counted_by_scale_and_those_never_given_are_left_out():
    judged_KN = torch.tensor([[2, 2, 9], [9, 2, 9], [9, 9, 9], [9, 9, 9]])
    counts = figures.verdicts(judged_KN, [f"kind {c}" for c in range(10)], Scales.of(SIDES))
    assert counts == {"kind 9": [1, 2, 3, 3], "kind 2": [2, 1, 0, 0]}
    assert [text.get_text() for text in plt.gca().get_yticklabels()] == [f"after {n} x {n}" for n in SIDES]


def test_samples_have_the_verdict_on_them():
    stages = list(torch.rand(4, 3, 1, 6, 6))
    judged_KN = torch.arange(12).view(4, 3) % 10
    axes = figures.judged_samples(stages, judged_KN, [f"kind {c}" for c in range(10)], Scales.of(SIDES), n=2)
    assert [[axis.texts[0].get_text() for axis in line] for line in axes] == [
        [f"kind {int(c)}" for c in row[:2]] for row in judged_KN
    ]
    assert torch.equal(torch.tensor(axes[1, 1].images[0].get_array().data), stages[1][1, 0])
