"""The data behind the figures of the panel."""

import json

import matplotlib.pyplot as plt

from varlite.evaluation.judges.verdict import CHOSEN_WITH
from varlite.experiments.corruptions import CORRUPTIONS
from varlite.io.places import RESULTS
from varlite.nb.judge_figures import judges_and_corruptions, two_opinions

JUDGES = json.loads((RESULTS / "judges.json").read_text())


def test_every_judge_has_a_row_and_blind_ones_are_crossed_out():
    shown = judges_and_corruptions(JUDGES)
    axis = plt.gcf().axes[0]
    assert set(CORRUPTIONS) <= set(shown) and len(shown["blur"]) == 3
    assert shown["blur"]["1.5"]["sw_patches"] > shown["blur"]["0.5"]["sw_patches"] > 10
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert {name[1:-1] for name in names if name.startswith("(")} == CHOSEN_WITH and len(names) == len(JUDGES["judges"])
    crosses = sum(
        len(JUDGES["table"][name]["strengths"])
        for name in shown
        for judge, entry in JUDGES["table"][name].items()
        if judge != "strengths" and not entry["sees"]
    )
    assert len(axis.texts) == crosses
    plt.close("all")


def test_two_opinions_are_drawn_beside_real_pictures():
    judged = {"FD": {"real": 1.0, "plain": 3.0, "gamed": 2.0}, "tokens": {"real": 0.05, "plain": 0.06, "gamed": 0.2}}
    assert two_opinions(judged) == judged
    axes = plt.gcf().axes
    for axis, scores in zip(axes, judged.values(), strict=True):
        real, *others = scores.values()
        assert [bar.get_width() for bar in axis.patches] == others and list(axis.lines[0].get_xdata()) == [real, real]
    plt.close("all")
