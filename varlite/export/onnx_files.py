"""ONNX files that share one file of weights.

Every graph of a model needs much the same weights, and those of models that ship are exact in half precision: each is
stored once, in half precision where that loses nothing, in weights.bin beside the graphs.
"""

import hashlib
import warnings
from typing import Any

import numpy as np
import torch

SMALLEST, ALIGNMENT = 256, 64  # bytes: below it a weight stays in its graph
WEIGHTS = "weights.bin"
Names = list[str]


def trace(module: torch.nn.Module, arguments: tuple[Any, ...], inputs: Names, outputs: Names) -> Any:
    """The graph of a module, an `onnx.ModelProto`, with the first axis of every argument free."""
    batch = torch.export.Dim("batch", min=1)
    free = tuple([{0: batch}] * len(a) if isinstance(a, list) else {0: batch} for a in arguments)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about its own workings
        program = torch.onnx.export(
            module.eval(), arguments, dynamo=True, dynamic_shapes=free, input_names=inputs, output_names=outputs,
            verbose=False,
        )  # fmt: skip
    assert program is not None
    return without_traces(program.model_proto)


def without_traces(proto: Any) -> Any:
    """The graph without what the exporter notes for debugging: source lines with their paths, shapes of all values."""
    proto.ClearField("metadata_props")
    graph = proto.graph
    for thing in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
    graph.ClearField("value_info")
    return proto


class SharedWeights:
    """The contents of weights.bin as graphs bring their weights."""

    def __init__(self) -> None:
        self.content, self.places = bytearray(), dict[bytes, int]()

    def take(self, proto: Any) -> Any:
        """Move the weights of a graph here: the graph then says where in weights.bin each of them lies."""
        import onnx

        casts = []
        for weight in proto.graph.initializer:
            values = onnx.numpy_helper.to_array(weight)
            if values.nbytes < SMALLEST:
                continue
            name, stored = weight.name, as_half(values)
            if stored.dtype != values.dtype:
                weight.name += "_half"
                casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
            kind, dims = onnx.helper.np_dtype_to_tensor_dtype(stored.dtype), weight.dims[:]
            name = weight.name
            weight.Clear()
            weight.name, weight.data_type = name, kind
            weight.dims.extend(dims)
            weight.data_location = onnx.TensorProto.EXTERNAL
            content = stored.tobytes()
            where = {"location": WEIGHTS, "offset": self.place(content), "length": len(content)}
            for key, value in where.items():
                weight.external_data.add(key=key, value=str(value))
        nodes = [*casts, *proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        return proto

    def place(self, content: bytes) -> int:
        """Where equal contents lie, once each."""
        key = hashlib.sha256(content).digest()
        if key not in self.places:
            self.content.extend(bytes(-len(self.content) % ALIGNMENT))
            self.places[key] = len(self.content)
            self.content.extend(content)
        return self.places[key]


def as_half(values: np.ndarray) -> np.ndarray:
    """The same numbers in half precision, if all of them are exact in it; otherwise as they are."""
    if values.dtype != np.float32:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else values
