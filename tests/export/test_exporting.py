"""The graphs of a small model, played by onnxruntime; their modules, for every kind that can be exported."""

import json
import re
from pathlib import Path

import onnx
import pytest
import torch
from examples import LABELS, RECTANGULAR, lively, lively_raster, random_inputs, tiny_tokenizer, tokenizer_for

from varlite.checkpoints.load import load
from varlite.export import exporting, graphs
from varlite.export.exporting import check_exportable, export
from varlite.export.onnx_files import as_half, trace
from varlite.export.onnx_player import agreement, play

KINDS_AND_SCALES = [("var", RECTANGULAR), ("mvar", [1, 3]), ("markov", [1, 2, 3])]
WIDE = [[1, 2], [3, 5]]


def small(kind, scales):
    """A model and its tokenizer, in half precision as what ships is."""
    model = lively(kind, depth=1, scales=scales)
    return tuple(module.half().float() for module in (model, tokenizer_for(model)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, sizes, model, tokenizer). Another kind is exported in tests/commands/test_export.py."""
    folder = tmp_path_factory.mktemp("export")
    pair = small("var", WIDE)
    return folder, export(*pair, folder), *pair


@pytest.mark.slow
def test_the_graphs_draw_the_tokens_of_the_model(exported):
    folder, _, model, tokenizer = exported
    found = agreement(folder, model, tokenizer, [0, 5, 5, 9, 3], seed=4)
    assert (found.images, found.equal) == (5, 5) and found.logits < 1e-5 and found.pixels < 1e-5


@pytest.mark.slow
def test_graphs_of_other_weights_do_not_agree(exported):
    folder, _, _, tokenizer = exported
    other = lively("var", depth=1, scales=WIDE)
    with torch.no_grad():
        other.head.linear.bias[:8] += 3
    found = agreement(folder, other, tokenizer, list(range(10)))
    assert found.equal < 10 and found.logits > 1e-3


@pytest.mark.slow
def test_every_weight_is_stored_once_and_in_half_precision(exported):
    folder, sizes, model, tokenizer = exported
    needed = [*model.parameters(), *tokenizer.decoder.parameters(), *tokenizer.quantizer.parameters()]
    assert (folder / "weights.bin").stat().st_size < 1.1 * sum(2 * p.numel() for p in needed) + 20_000
    assert sizes == {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.slow
def test_the_manifest_says_what_the_graphs_take_and_give(exported):
    folder, _, model, tokenizer = exported
    about = json.loads((folder / "model.json").read_text())
    assert about["scales"] == [list(shape) for shape in model.scales.shapes]
    assert (about["null_label"], len(about["classes"])) == (model.config.classes, model.config.classes)
    assert about["f_hat"] == list(tokenizer.empty(1).shape[1:])
    for name, graph in about["graphs"].items():
        proto = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(str(folder / f"{name}.onnx"))
        assert [value.name for value in proto.graph.input] == graph["inputs"]
        assert [value.name for value in proto.graph.output] == graph["outputs"]
        assert all(value.type.tensor_type.shape.dim[0].dim_param for value in proto.graph.input), "the batch is free"
    assert "x" not in about["graphs"]["step-0"]["inputs"] and "before_0" in about["graphs"]["step-1"]["inputs"]


@pytest.mark.slow
def test_nothing_in_the_files_tells_of_the_machine_that_wrote_them(exported):
    folder = exported[0]
    for path in [*folder.glob("*.onnx"), folder / "model.json"]:
        assert re.search(rb"site-packages|stack_trace|\.py\b|/home|/root|/work", path.read_bytes()) is None


@pytest.mark.slow
def test_an_earlier_export_is_replaced_and_other_files_stay(exported, tmp_path, monkeypatch):
    folder, _, model, tokenizer = exported
    (tmp_path / "mine.txt").write_text("mine")
    for name in ("step-7.onnx", "weights.bin"):
        (tmp_path / name).write_text("old")
    (tmp_path / "model.json").write_text('{"graphs": {"step-7": {}}}')
    monkeypatch.setattr(exporting, "all_graphs", lambda *pair: iter([next(graphs_of(*pair))]))
    export(model, tokenizer, tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"mine.txt", "condition.onnx", "weights.bin", "model.json"}
    assert (tmp_path / "condition.onnx").read_bytes() == (folder / "condition.onnx").read_bytes()


graphs_of = exporting.all_graphs


@pytest.mark.slow
def test_the_graphs_are_played_for_any_batch(exported):
    folder, _, model, tokenizer = exported
    played, _ = play(folder, model, tokenizer)
    for batch in (1, 3):
        label_B = torch.arange(batch)
        logits_BlV = played.step(None, played.condition(label_B), 0, [])
        torch.testing.assert_close(logits_BlV, model.step(None, label_B, 0, model.make_cache()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "scales"), KINDS_AND_SCALES)
@torch.no_grad()
def test_the_modules_that_are_traced_compute_what_the_model_does(kind, scales):
    """Without the exporter: steps with tensors for caches, and resizing as products with matrices."""
    model, tokenizer = small(kind, scales)
    model, tokenizer = model.double(), tokenizer.double()
    x_BLZ, cache, before = random_inputs(model), model.make_cache(), None
    parts = [None, *x_BLZ.split(model.scales.lengths[1:], 1)]
    cond_BnC, f_hat = graphs.ConditionGraph(model)(LABELS), tokenizer.empty(2)
    for k, part in enumerate(parts):
        arguments = () if part is None else (part, before)
        logits_BlV, before = graphs.StepGraph(model, k)(cond_BnC, *arguments)
        torch.testing.assert_close(logits_BlV, model.step(part, LABELS, k, cache), atol=1e-9, rtol=1e-9)
        h_BlZ = tokenizer.embed(torch.randint(32, (2, model.scales.lengths[k])))
        summed, *x = graphs.AddGraph(tokenizer, k).double()(f_hat, h_BlZ)
        f_hat = tokenizer.accumulate(f_hat, h_BlZ, k)
        torch.testing.assert_close(summed, f_hat, atol=1e-6, rtol=1e-6)
        if x:
            torch.testing.assert_close(x[0], tokenizer.next_input(f_hat, k), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("changes", [{"adaln": False}, {"shared_adaln": True}, {"attn_norm": False}])
@torch.no_grad()
def test_every_way_of_conditioning_fits_into_one_tensor(changes):
    model = lively("var", **changes)
    logits_BlV, _ = graphs.StepGraph(model, 0)(graphs.ConditionGraph(model)(LABELS))
    torch.testing.assert_close(logits_BlV, model.step(None, LABELS, 0, model.make_cache()))


def test_weights_are_halved_only_where_that_loses_nothing():
    exact, other = torch.tensor([1.5, -0.25, 0.0]).numpy(), torch.tensor([1.5, 0.1]).numpy()
    assert as_half(exact).dtype == "float16" and as_half(other) is other
    large = torch.tensor([1e6]).numpy()
    assert as_half(large) is large


def test_a_model_of_another_order_of_other_scales_or_without_a_cache_is_refused():
    tokenizer = tiny_tokenizer()
    with pytest.raises(ValueError, match="model: mine draws token after token; exported is a step a scale"):
        check_exportable(lively_raster(), tokenizer, "mine")
    with pytest.raises(ValueError, match="model: mine has no cache of earlier steps"):
        check_exportable(lively("maskgit", scales=[5]), tokenizer, "mine")
    with pytest.raises(ValueError, match=r"model: mine draws on \[1, 2, 3, 5, 7\], its tokenizer on \[7\]"):
        check_exportable(*load("fashion-flexvar-d4"), "mine")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(ValueError, match=r"export needs onnxscript: pip install 'varlite\[site\]'"):
        check_exportable(lively("var"), tiny_tokenizer())


def test_a_traced_graph_keeps_the_names_it_was_given():
    proto = trace(torch.nn.Linear(2, 3), (torch.zeros(2, 2),), ["in"], ["out"])
    assert [proto.graph.input[0].name, proto.graph.output[0].name] == ["in", "out"]
    assert Path(__file__).name.encode() not in proto.SerializeToString()
