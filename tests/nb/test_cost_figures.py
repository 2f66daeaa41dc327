import matplotlib.pyplot as plt
import pytest

from varlite.nb import cost_figures as figures

STAGES = {"transformer": 5.0, "filters": 1.0, "draws": 1.0, "quantizer": 1.0, "decoder": 2.0}


def ways(plain, varlite):
    return {"plain": {"seconds": plain}, "varlite": {"seconds": varlite, "percent_of_gemm": 61.234}}


@pytest.fixture
def record():
    rows = [{"seconds_per_image": 0.02 / x, "ms_by_stage": {s: t / x for s, t in STAGES.items()}} for x in (1, 2)]
    fast = {"median": 1.5, "decoder": 1.3}
    return {
        "bench": {
            "d16": {"ways": ways(3.0, 2.0), "speedup": {"varlite": fast, "int8": {"median": 2.0, "decoder": 1.2}}},
            "training": {"ways": ways(0.4, 0.3), "speedup": {"varlite": {"median": 1.333}}},
        },
        "int8": {"small": {"fd": 2.71, "accuracy": 0.961}},
        "batch": [{"batch": b} | row for b, row in zip((1, 8), rows, strict=True)],
        "depth": [{"depth": d, "size": 10**d} | row for d, row in zip((4, 6), rows, strict=True)],
        "resolution": [
            {"kind": kind, "side": side, "tokens": 5} | row
            for kind in ("var", "mvar")
            for side, row in zip((256, 512), rows, strict=True)
        ],
    }


def test_the_table_has_what_each_bench_has_and_blanks_for_the_rest(record):
    table = figures.speedups(record)
    assert list(table.loc["d16"]) == [3.0, 2.0, 1.5, 1.3, 2.0, 61.23]
    assert list(table.loc["training"]) == [0.4, 0.3, 1.33, "", "", 61.23]


def test_bars_of_speed_start_from_the_plain_way_and_leave_out_what_was_not_measured(record):
    found = figures.times_as_fast(record)
    assert found == {"d16": {"varlite": 1.5, "int8": 2.0}, "training": {"varlite": 1.333}}
    assert sorted(bar.get_width() for bar in plt.gca().patches) == [1.333, 1.5, 2.0]


def test_scores_in_int8_stand_beside_the_band_of_float32(record):
    results = {"small": {"mean": {"fd": 2.66, "accuracy": 0.9625}, "band": {"fd": [2.64, 2.68]}}}
    assert list(figures.quality(record, results).loc["small"]) == ["2.66 (2.64 to 2.68)", "2.71", "96.2%", "96.1%"]


def test_bars_and_lines_are_as_high_as_what_was_measured(record):
    heights = figures.costs(record)
    assert heights == {"batch": [20.0, 10.0], "var": [0.02, 0.01], "mvar": [0.02, 0.01], "depth": [20.0, 10.0]}
    bars, resolution, depth = plt.gcf().axes
    tops = [max(p.get_y() + p.get_height() for p in bars.patches if round(p.get_x() + 0.4) == i) for i in (0, 1)]
    assert tops == pytest.approx([20, 10])
    assert [len(line.get_xdata()) for line in resolution.lines] == [2, 2] and len(depth.texts) == 2
