import matplotlib.pyplot as plt
import pytest

from varlite.nb import cost_figures as figures
from varlite.scales import Scales

STAGES = {"transformer": 5.0, "filters": 1.0, "draws": 1.0, "quantizer": 1.0, "decoder": 2.0}


def ways(plain, varlite):
    return {"plain": {"seconds": plain}, "varlite": {"seconds": varlite, "percent_of_gemm": 61.234}}


@pytest.fixture
def record():
    rows = [{"seconds_per_image": 0.02 / x, "ms_by_stage": {s: t / x for s, t in STAGES.items()}} for x in (1, 2)]
    fast = {"median": 1.5, "rounds": [1.4, 1.5, 1.61]}
    return {
        "bench": {
            "d16": {"ways": ways(3.0, 2.0), "speedup": {"varlite": fast, "int8": {"median": 2.0}}},
            "training": {"ways": ways(0.4, 0.3), "speedup": {"varlite": {"median": 1.333, "rounds": [1.333]}}},
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


def test_the_table_has_seconds_and_speed_ups_with_their_range(record):
    table = figures.speedups(record)
    assert list(table.loc["d16"]) == ["3.00", "2.00", "1.50 (1.40 to 1.61)", "61 %"]
    assert list(table.loc["training"]) == ["0.40", "0.30", "1.33 (1.33 to 1.33)", "61 %"]


def test_bars_of_speed_start_from_the_plain_way_and_leave_out_what_was_not_measured(record):
    found = figures.times_as_fast(record)
    assert found == {"d16": {"varlite": 1.5, "int8": 2.0}, "training": {"varlite": 1.333}}
    assert sorted(bar.get_width() for bar in plt.gca().patches) == [1.333, 1.5, 2.0]


def test_scores_in_int8_stand_beside_the_band_of_float32(record):
    results = {"small": {"mean": {"fd": 2.66, "accuracy": 0.9625}, "band": {"fd": [2.64, 2.68]}}}
    assert list(figures.quality(record, results).loc["small"]) == ["2.66 (2.64 to 2.68)", "2.71", "96.2%", "96.1%"]


def test_bars_over_the_batch_are_as_high_as_what_was_measured(record):
    assert figures.over_batch(record) == [20.0, 10.0]
    bars = plt.gca().patches
    tops = [max(p.get_y() + p.get_height() for p in bars if round(p.get_x() + 0.4) == i) for i in (0, 1)]
    assert tops == pytest.approx([20, 10])


def test_lines_over_resolution_and_depth_show_every_measurement(record):
    assert figures.over_size(record) == {"var": [0.02, 0.01], "mvar": [0.02, 0.01], "depth": [20.0, 10.0]}
    resolution, depth = plt.gcf().axes
    assert [len(line.get_xdata()) for line in resolution.lines] == [2, 2] and len(depth.texts) == 2


def test_rates_are_operations_over_time_before_the_range_of_bare_products(record):
    record["bench"]["d16"]["gemm_gflop_per_second"], record["bench"]["training"]["gemm_gflop_per_second"] = 150, 120
    assert figures.rates([1.0, 4.0], {"alone": [100, 50]}, record, Scales.of([1, 2])) == [120, 150]
    assert [bar.get_height() for bar in plt.gca().patches[:2]] == pytest.approx([10, 80])
