import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from varlite.nb import classify_figures as figures
from varlite.scales import Scales


def test_accuracy_and_bits_are_lines_over_the_scales_below_all_that_there_is_to_know():
    scores = {"accuracy_by_step": [0.4, 0.9], "bits_by_step": [0.5, 1.5], "confusion": [[0] * 4] * 4}
    figures.over_scales({"a": scores, "b": scores}, Scales.of((1, 2)))
    accuracy, bits = plt.gcf().axes
    assert accuracy.lines[1].get_ydata().tolist() == [0.4, 0.9] and bits.lines[0].get_ydata().tolist() == [0.5, 1.5]
    assert [axis.lines[-1].get_ydata()[0] for axis in (accuracy, bits)] == [1, 2]  # of four classes


def test_confusion_shows_the_counts_that_are_not_zero():
    figures.confusion([[8, 2], [0, 5]], ["a", "b"])
    axis = plt.gca()
    assert [text.get_text() for text in axis.texts] == ["8", "2", "5"]
    assert axis.collections[0].get_array().compressed() == pytest.approx([0.8, 0.2, 1.0])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("taken for", "is")


def test_evidence_is_laid_over_its_picture_in_one_colour_scale_around_zero():
    maps_BShw = torch.tensor([[[[4.0, -8.0]]], [[[0.0, 2.0]]]])
    assert figures.on_images(torch.rand(2, 1, 6, 8), maps_BShw, ["finest"], ["x", "y"], most=8) == 8
    pictures, overlays = np.array(plt.gcf().axes).reshape(2, 2)
    assert [axis.get_title() for axis in pictures] == ["x", "y"]
    for axis, map_hw in zip(overlays, maps_BShw[:, 0], strict=True):
        pale, colours = axis.get_images()
        assert torch.equal(torch.tensor(colours.get_array().data), map_hw) and pale.get_array().min() > 0.5
        assert colours.get_clim() == (-8, 8) and colours.get_extent() == [-0.5, 7.5, 5.5, -0.5]


def test_without_evidence_there_is_a_colour_scale_all_the_same():
    assert figures.on_images(torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 2, 2), ["a", "b"], ["x"]) == 1.0
