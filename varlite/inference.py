"""What makes a model quick to sample from: the precision of its matrix products, and the layout of its weights.

float32 on a CPU: the linear layers of the blocks are packed for oneDNN, and the tokens stay the same. Half precision
is autocast's, for GPUs. int8, on a CPU: weights and activations are rounded to 8 bits, weights with a scale for each
output, activations with one for each product: more images a second, and other images. Attention proper, norms, AdaLN,
embeddings and the head stay in float32, and so does the tokenizer.

On an NVIDIA GPU sampling is recorded once for each batch size and replayed as one CUDA graph, from labels and seeds to
pictures: Python takes no part in it.
"""

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import nn

from varlite.drawing import Rules
from varlite.io.checks import brief
from varlite.scales import Scales
from varlite.transformer import FFN, Attention

Precision = Literal["float32", "bfloat16", "float16", "int8"]

# By speed on large batches; which there are depends on how torch was built.
ENGINES = ("onednn", "x86", "fbgemm", "qnnpack")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which matrix products are of half precision; with float32 and int8 it changes nothing."""
    half = precision in ("bfloat16", "float16")
    return torch.autocast(device.type, getattr(torch, precision) if half else None, enabled=half)


def prepare(model: Any, precision: Precision = "float32") -> Any:
    """Change a model, in place, so that sampling is quick; it can then neither be trained nor saved.

    On a CUDA GPU the linear layers of the blocks keep the half-precision weights that `autocast` would make of them in
    every batch, and sampling becomes a graph (`Graphs`). For half precision elsewhere nothing changes: that is for
    `autocast`. Raises ValueError for an unknown precision or another one than before, for int8 with a model that is not
    on the CPU in float32, and where this torch has no such layers.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {brief(precision)}")
    if not isinstance(model, nn.Module) or not hasattr(model, "abilities"):
        raise ValueError(f"model must be a model such as varlite.load gives, got {brief(model)}")
    before = getattr(model, "prepared", precision)
    if before != precision:
        raise ValueError(f"precision: this model is ready for {before} already; load it once more for {precision}")
    weight = next(model.parameters(), torch.empty(0))
    here = weight.device.type == "cpu" and weight.dtype == torch.float32
    if precision == "int8":
        if not here:
            raise ValueError(
                f"precision: int8 is for a float32 model on the CPU, got {weight.dtype} on {weight.device}"
            )
        replace_linears(model, quantized)
    elif precision == "float32" and here and torch.backends.mkldnn.is_available():
        replace_linears(model, PackedLinear)
        for part in [part for part in model.modules() if type(part) is FFN and isinstance(part.fc1, PackedLinear)]:
            part.__class__ = PackedFFN
    if weight.is_cuda:
        if precision in ("bfloat16", "float16") and weight.dtype == torch.float32:
            replace_linears(model, lambda linear: HalfLinear(linear, getattr(torch, precision)))
        ready: Any = model
        if not isinstance(ready.sample, Graphs):
            ready.sample = Graphs(ready)
    model.prepared = precision  # type: ignore[assignment]
    return model.eval()


def check_compiler(device: torch.device) -> None:
    """Raises ValueError that says what is missing if blocks cannot be compiled for `device`."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ValueError("compile: triton is not installed, which torch compiles with for GPUs")
        names = [os.environ.get("CC") or "", "gcc", "clang"]
    else:
        from torch._inductor import config

        given: Any = config.cpp.cxx
        names = [name or "" for name in ((given,) if isinstance(given, str) else given)]
    if not any(shutil.which(name) for name in names if name):
        what = "C compiler" if device.type == "cuda" else "C++ compiler"
        known = ", ".join(name for name in names if name)
        raise ValueError(f"compile: there is no {what} here ({known}): install one, or leave out --compile")


def compile_blocks(model: Any, backend: str = "inductor") -> None:
    """Compile the blocks in place: one graph of static shapes for each step, shared by all blocks.

    Pays off where many batches of one size follow, on a GPU above all; the first batch takes a minute or more.
    """
    # Past the limit dynamo would silently go on without compiling.
    limit = 2 * model.evaluations(model.config)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, limit)
    for block in model.blocks:
        block.compile(dynamic=False, backend=backend)


def replace_linears(model: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace the linear layers of the blocks, except AdaLN's, which run once an image.

    The joint projection of an `Attention` takes its bias along. A subclass may project in another way, so its own is
    left alone, and so are layers inside modules that are not known to call them.
    """
    for block in model.get_submodule("blocks").children():
        for module in [part for name, part in block.named_children() if name != "ada_ln"]:
            for name, child in list(module.named_children()):
                if isinstance(module, Attention) and name == "qkv":
                    if type(module) is Attention:
                        fold(module, replacement)
                elif isinstance(child, nn.Linear):
                    setattr(module, name, replacement(child))


def fold(attention: Any, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    """Turn an attention layer into one whose joint projection is a single layer, `all`, bias included."""
    joint = nn.Linear(attention.qkv.in_features, attention.qkv.out_features, device="meta")
    joint.load_state_dict({"weight": attention.qkv.weight, "bias": attention.joint_bias().detach()}, assign=True)
    attention.__class__, attention.all = JointAttention, replacement(joint)
    del attention.qkv


class JointAttention(Attention):
    """Attention whose joint projection is one layer, `all`, bias included."""

    all: nn.Module

    def joint(self, x_BlC: torch.Tensor) -> torch.Tensor:
        return self.all(x_BlC)


class PackedFFN(FFN):
    """Feed-forward of packed layers; the first applies GELU to its products while the processor's cache holds them."""

    fc1: Any

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.fc1(x, "gelu"))


class SamplingLayer(nn.Module):
    """A layer whose weights can neither be trained nor saved any more. Raises ValueError if that is tried."""

    message = "a model made ready for sampling can be neither trained nor saved: load it once more for that"

    def train(self, mode: bool = True) -> "SamplingLayer":
        if mode:
            raise ValueError(self.message)
        return super().train(mode)

    def _save_to_state_dict(self, *_: Any) -> None:
        raise ValueError(self.message)

    def check(self, x: torch.Tensor) -> None:
        if x.requires_grad and torch.is_grad_enabled():  # these layers know no gradient, and all others would learn
            raise ValueError(f"{self.message}, or use it under torch.no_grad()")


class PackedLinear(SamplingLayer):
    """A linear layer on a CPU whose weight is reordered once, not in every product; it pays for up to 300 rows."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def __deepcopy__(self, memo: Any) -> nn.Module:
        raise ValueError("a model made ready for sampling cannot be copied: load it once more for that")

    @property
    def weight(self) -> torch.Tensor:
        """The weight as it was, for a module that uses it by itself."""
        return self.packed.to_dense()

    def forward(self, x: torch.Tensor, then: str = "none") -> torch.Tensor:
        """The product, and what oneDNN applies to it: nothing, or "gelu" in its tanh form."""
        self.check(x)
        # Under autocast what comes in may be of half precision, which packed weights do not take.
        return torch.ops.mkldnn._linear_pointwise(x.float(), self.packed, self.bias, then, [], "tanh")


class Int8Linear(SamplingLayer):
    """One of torch's dynamically quantized layers, which would otherwise be trained and saved without a word."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return self.layer(x)


class HalfLinear(SamplingLayer):
    """A linear layer whose weights are as autocast converts them: half the memory, and no conversion in a batch."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(linear.weight.detach().to(dtype), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


def quantized(linear: nn.Linear) -> nn.Module:
    """An int8 layer. Raises ValueError where this torch has no engine for it."""
    supported = torch.backends.quantized.supported_engines
    engine = next((name for name in ENGINES if name in supported), None)
    quantization = getattr(torch.ao, "quantization", None)
    if engine is None or not hasattr(quantization, "quantize_dynamic"):
        raise ValueError(f"precision: torch {torch.__version__} has no dynamic int8 layers for this CPU")
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, engine
    with warnings.catch_warnings():
        # It says that torchao is to replace it, whose linears take up to four times as long unless compiled.
        warnings.simplefilter("ignore")
        spec = {nn.Linear: quantization.per_channel_dynamic_qconfig}
        (layer,) = quantization.quantize_dynamic(nn.Sequential(linear), spec)
    torch.backends.quantized.engine = before
    return Int8Linear(layer.eval())


class Graphs:
    """A model's `sample` that records itself, on a CUDA GPU, as one graph for each batch size and setting.

    The first batch runs as ever, and compiles what is to be compiled; the second is recorded. From then on labels and
    seeds are copied to where the graph reads them, and it is replayed. Keys, values and all else between lie in a
    pool of memory that is allocated once. With hooks or a generator, and where recording fails, nothing is recorded.
    """

    most = 2  # graphs that are kept: a full batch, and the last one

    def __init__(self, model: Any):
        self.model, self.sample = model, model.sample
        self.pool, self.failed = None, False  # type: Any, bool
        self.seen: set[Hashable] = set()
        self.held: dict[Hashable, tuple[Any, Any, torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, tokenizer: Any, label_B: torch.Tensor, rules: Rules, scales: Scales) -> torch.Tensor:
        """As the model's own: images in [-1, 1]."""
        if not label_B.is_cuda or rules.seeds is None or rules.on_logits is not None or rules.on_scale is not None:
            return self.sample(tokenizer, label_B, rules, scales)
        half = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        dials = (str(getattr(self.model.config, name)) for name in self.model.dials)
        settings = (rules.cfg, rules.top_k, rules.top_p, rules.smooth, *dials)
        weights = [next(module.parameters()).data_ptr() for module in (self.model, tokenizer)]  # moved, a graph is void
        key = (id(tokenizer), *weights, len(label_B), label_B.device, settings, scales, half)
        if key not in self.held and (key not in self.seen or not self.record(key, tokenizer, label_B, rules, scales)):
            self.seen.add(key)
            return self.sample(tokenizer, label_B, rules, scales)
        graph, _, label, seed, image = self.held[key]
        label.copy_(label_B)
        seed.copy_(rules.seeds)
        graph.replay()
        return image.clone()  # the next replay writes over it

    def record(self, key: Hashable, tokenizer: Any, label_B: torch.Tensor, rules: Rules, scales: Scales) -> bool:
        """Record a batch; False where that cannot be done, the first time with a warning."""
        if self.failed:
            return False
        while len(self.held) >= self.most:
            del self.held[next(iter(self.held))]
        label, seed = label_B.clone(), rules.seeds.clone()
        graph = torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        torch.clear_autocast_cache()  # weights converted before lie outside the pool and do not last
        try:
            with torch.cuda.graph(graph, pool=self.pool):
                image = self.sample(tokenizer, label, replace(rules, seeds=seed), scales)
        except RuntimeError as error:  # too little memory is one
            self.failed, reason = True, str(error).split("\n")[0]
            warnings.warn(f"sampling cannot be recorded as a CUDA graph here ({reason}); it runs without", stacklevel=2)
            return False
        finally:
            torch.clear_autocast_cache()  # and those converted now do not outlive the graph
        self.held[key] = (graph, tokenizer, label, seed, image)
        return True
