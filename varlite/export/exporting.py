"""A model and its tokenizer as a folder of ONNX files that says by itself how to sample from them.

model.json      what a caller needs: scales, classes, the graphs with their inputs and outputs
weights.bin     the weights of all graphs
*.onnx          the graphs (varlite/export/graphs.py)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from varlite.export import graphs as g
from varlite.export.onnx_files import WEIGHTS, Names, SharedWeights, trace
from varlite.io.files import atomic, write_json
from varlite.io.outputs import check_folder
from varlite.io.records import check_entries, read_object
from varlite.models import Model, kind_of, require
from varlite.tokenizer import VQVAE

MANIFEST = "model.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Graph:
    """One file: a module, arguments to trace it with, names of its inputs and outputs."""

    name: str
    module: torch.nn.Module
    arguments: tuple[Any, ...]
    inputs: Names
    outputs: Names


def check_exportable(model: Model, tokenizer: VQVAE, name: str = "") -> None:
    """Raises ValueError for a model that does not sample in one cached step for each scale of its tokenizer, and where
    packages are missing."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise ValueError(f"export needs {', '.join(missing)}: pip install 'varlite[site]'")
    require(model, "cache", name)
    if model.spans(model.scales) != model.scales.spans:
        raise ValueError(f"model: {name or type(model).__name__} draws token after token; exported is a step a scale")
    if model.scales != tokenizer.scales:
        raise ValueError(
            f"model: {name or type(model).__name__} draws on {model.scales.sides}, its tokenizer on "
            f"{tokenizer.scales.sides}; exported are models on the scales of their tokenizer"
        )


def all_graphs(model: Any, tokenizer: VQVAE) -> Iterator[Graph]:
    """The graphs in the order of their use. Each is traced on what the ones before it give, for a batch of two."""
    label_B, scales = torch.tensor([0, model.class_embed.null]), model.scales
    condition = g.ConditionGraph(model)
    yield Graph("condition", condition, (label_B,), ["label"], ["cond"])
    yield Graph("embed", g.EmbedGraph(tokenizer), (torch.zeros(2).long(),), ["idx"], ["h"])
    with torch.no_grad():
        cond_BnC, arguments, before, f_hat = condition(label_B), list[Any](), Names(), tokenizer.empty(2)
        for k in range(scales.K):
            step, add = g.StepGraph(model, k), g.AddGraph(tokenizer, k)
            _, cache = step(cond_BnC, *arguments)
            after = [f"after_{i}" for i in range(len(cache))]
            inputs = ["cond", *(["x"] if k else []), *before]
            yield Graph(f"step-{k}", step, (cond_BnC, *arguments), inputs, ["logits", *after])
            h_BlZ = tokenizer.embed(torch.zeros(2, scales.lengths[k]).long())
            outputs = ["f_hat_after", *(["x"] if k < scales.K - 1 else [])]
            yield Graph(f"add-{k}", add, (f_hat, h_BlZ), ["f_hat", "h"], outputs)
            f_hat, *x = add(f_hat, h_BlZ)
            arguments, before = [*x, cache], [f"before_{i}" for i in range(len(cache))]
    yield Graph("decode", g.DecodeGraph(tokenizer), (f_hat,), ["f_hat"], ["image"])


def export(model: Any, tokenizer: VQVAE, out: Path, about: dict[str, Any] | None = None) -> dict[str, int]:
    """Write a model and its tokenizer into the folder `out`: {file: bytes}. `about` goes into model.json as well.

    An earlier export there is replaced; model.json comes last, so that a folder which has it is whole. Raises
    ValueError for a model that cannot be exported, OSError for a folder that cannot be written.
    """
    check_exportable(model, tokenizer)
    check_folder("out", out)
    remove_earlier(out)
    weights, table = SharedWeights(), dict[str, dict[str, Names]]()
    for graph in all_graphs(model, tokenizer):
        proto = weights.take(trace(graph.module, graph.arguments, graph.inputs, graph.outputs))
        write_bytes(out / f"{graph.name}.onnx", proto.SerializeToString(deterministic=True))
        table[graph.name] = {"inputs": graph.inputs, "outputs": graph.outputs}
    write_bytes(out / WEIGHTS, bytes(weights.content))
    write_json(out / MANIFEST, (about or {}) | manifest(model, tokenizer) | {"graphs": table})
    return {name: (out / name).stat().st_size for name in (MANIFEST, WEIGHTS, *(f"{name}.onnx" for name in table))}


def manifest(model: Any, tokenizer: VQVAE) -> dict[str, Any]:
    """What a caller has to know beside the graphs."""
    config, image = model.config, [tokenizer.config.channels, *tokenizer.image_size()]
    return {
        "kind": kind_of(model).name, "scales": [list(shape) for shape in model.scales.shapes], "vocab": config.vocab,
        "classes": model.class_names or [str(label) for label in range(config.classes)],
        "null_label": model.class_embed.null, "f_hat": [config.z, *model.scales.last], "image": image,
        "weights": WEIGHTS,
    }  # fmt: skip


def remove_earlier(out: Path) -> None:
    """Remove the files of an export that its model.json names."""
    if (out / MANIFEST).exists():
        known = read_object(out / MANIFEST)
        check_entries(known, {"graphs": dict}, out / MANIFEST)
        for name in (MANIFEST, WEIGHTS, *(f"{Path(name).name}.onnx" for name in known.get("graphs", {}))):
            (out / name).unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
