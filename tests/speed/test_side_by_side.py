import json

import pytest
import torch

from varlite.checkpoints.empty import parameters
from varlite.checkpoints.load import load
from varlite.experiments import machine_costs as costs
from varlite.experiments.scaling_laws import flops
from varlite.inference import Graphs
from varlite.io.places import RESULTS
from varlite.speed import side_by_side, stopwatch, ways
from varlite.speed.reference import keep_top
from varlite.speed.report import report
from varlite.speed.side_by_side import bench
from varlite.speed.stopwatch import gemm_rate


def test_sampling_is_measured_part_by_part_beside_the_plain_way(trained, quick_bench):
    record = bench(str(trained / "var"), batch=3, rounds=2, precision="int8")
    model, _ = load(trained / "var")
    assert list(record["ways"]) == ["varlite", "plain", "int8"]
    for name, way in record["ways"].items():
        assert set(way["ms_by_stage"]) == {"transformer", "filters", "draws", "quantizer", "decoder"}
        assert sum(way["ms_by_stage"].values()) <= 1000 * way["seconds"] * 1.05
        assert len(way["transformer_ms_by_scale"]) == model.scales.K
        assert way["images_per_second"] == pytest.approx(3 / way["seconds"], rel=1e-2)
        assert way["tokens_per_second"] == pytest.approx(3 * model.scales.total / way["seconds"], rel=1e-2)
        assert way["gflop"] > 3 * flops(model.config, "sampling") / 1e9
        assert way["equal"] == 1 or name == "int8"
    assert len(record["speedup"]["varlite"]["rounds"]) == 2 and record["speedup"]["int8"]["decoder"] > 0
    assert record["gemm_gflop_per_second"] > 1 and record["peak_memory_gib"] > 0.1


def test_a_training_step_with_kept_tokens_computes_the_loss_of_one_that_encodes(trained, quick_bench):
    record = bench(str(trained / "var"), batch=4, what="train", rounds=2)
    kept, encoding = record["ways"]["varlite"], record["ways"]["plain"]
    assert kept["equal"] == encoding["equal"] == 1
    assert set(encoding["ms_by_stage"]) - set(kept["ms_by_stage"]) == {"encode"}
    assert (
        encoding["gflop"]
        > kept["gflop"]
        == pytest.approx(4 * flops(load(trained / "var")[0].config, "training") / 1e9, rel=1e-3)
    )


def test_blocks_can_be_compiled_and_a_raster_model_has_a_step_for_each_token(trained, quick_bench, monkeypatch):
    compiled = []
    monkeypatch.setattr(ways, "compile_blocks", compiled.append)  # its own test: test_compile.py
    work = ways.Work(str(trained / "var"), 1, "sample", side_by_side.CPU, "int8", True, None)
    assert work.ways() == ["varlite", "plain", "int8", "compiled"]
    found = {way: stopwatch.measure(work.open(way)[0], 0, side_by_side.CPU).result for way in ("compiled", "varlite")}
    assert len(compiled) == 1 and torch.equal(*found.values())
    record = bench("fashion-raster-d4", rounds=1)
    assert len(record["ways"]["plain"]["transformer_ms_by_scale"]) == 49 and record["ways"]["plain"]["equal"] == 1


def test_parts_are_timed_without_a_recorded_graph_which_has_none(trained, monkeypatch):
    model, tokenizer = load(trained / "var")
    model.sample = Graphs(model)
    monkeypatch.setattr(Graphs, "__call__", lambda *_: pytest.fail("a graph was asked for"))
    watch = stopwatch.Stopwatch(side_by_side.CPU)
    ways.sample(model, tokenizer, 2, "float32", keep_top, watch, 0)
    assert len(watch.seconds["transformer"]) == model.scales.K and isinstance(model.sample, Graphs)


def test_a_process_that_dies_is_told_of(trained, quick_bench):
    work = ways.Work(str(trained / "var"), 1, "sample", side_by_side.CPU, "float32", False, None)
    worker = side_by_side.Worker(work, "plain")
    worker.close()
    with pytest.raises(OSError, match="a process of the bench ended"):
        worker.run(0, 1)


def test_a_preset_without_weights_is_measured_on_random_ones():
    model, tokenizer, source = ways.open_model("fashion-var-d2", torch.device("cpu"))
    assert source == "random" and parameters(model) > 1e5 and tokenizer.scales == model.scales
    assert ways.open_model("fashion-var-d4", torch.device("cpu"))[2] == "fashion-var-d4"


def test_the_table_has_a_column_for_each_way_and_a_row_for_each_scale(trained, quick_bench):
    text = report(bench(str(trained / "var"), rounds=1))
    lines = text.splitlines()
    assert lines[1].split() == ["varlite", "plain"]
    assert any(line.startswith("transformer, 5 x 5, ms") for line in lines)
    assert any(line.startswith("decoder, times as fast") for line in lines)
    assert "GFLOP/s, peak memory" in lines[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"what": "train", "precision": "int8"}, "training knows neither int8 nor compiled blocks"),
        ({"name": "var-d17"}, "unknown model"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bench(**options)


def test_a_large_product_runs_at_a_rate_that_a_small_one_cannot_reach():
    assert gemm_rate(torch.device("cpu"), n=512, rounds=3) > gemm_rate(torch.device("cpu"), n=8, rounds=3)


# varlite reproduce speed


def test_costs_are_measured_over_batch_depth_and_resolution_and_kept(trained, tmp_path, monkeypatch):
    asked = []

    def of(name, *args, **others):
        asked.append(name)
        return {"speedup": {}}

    monkeypatch.setattr(costs, "bench", lambda name, **options: of(name))
    monkeypatch.setattr(costs, "evaluate", lambda request, *_: {"scores": dict.fromkeys(costs.SCORES, 0.5)})
    monkeypatch.setattr(costs, "BATCHES", (1, 3))
    monkeypatch.setattr(costs, "DEPTHS", (1, 2))
    monkeypatch.setattr(costs, "SCHEDULES", {16: [1, 2], 32: [1, 2, 4]})
    record = costs.reproduce_speed(tmp_path, num=20, rounds=1)
    assert json.loads((tmp_path / "speed.json").read_text()) == record
    assert [row["batch"] for row in record["batch"]] == [1, 3]
    assert [row["depth"] for row in record["depth"]] == [1, 2] and record["depth"][1]["size"] > record["depth"][0][
        "size"
    ]
    assert [(row["kind"], row["tokens"]) for row in record["resolution"]] == [
        ("var", 5), ("var", 21), ("mvar", 5), ("mvar", 21),
    ]  # fmt: skip
    assert all(row["seconds_per_image"] > 0 for row in record["resolution"])
    assert set(record["int8"]) == set(costs.QUALITY)
    count = len(asked)
    assert costs.reproduce_speed(tmp_path, num=20, rounds=1) == record and len(asked) == count
    (tmp_path / "speed.json").write_text((RESULTS / "speed.json").read_text())  # what ships goes on
    assert costs.reproduce_speed(tmp_path) == json.loads((RESULTS / "speed.json").read_text()) and len(asked) == count
    with pytest.raises(ValueError, match=r"speed\.json holds other measurements"):
        costs.reproduce_speed(tmp_path, num=30, rounds=1)
