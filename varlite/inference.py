"""What makes a model quick to sample from: the precision of its matrix products, and the layout of its weights.

float32 on a CPU: the linear layers of the blocks are packed for oneDNN, and the tokens stay the same. Half precision
is autocast's, for GPUs. int8, on a CPU: weights and activations are rounded to 8 bits, weights with a scale for each
output, activations with one for each product: more images a second, and other images. Attention proper, norms, AdaLN,
embeddings and the head stay in float32, and so does the tokenizer.
"""

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import nn

from varlite.io.checks import brief
from varlite.transformer import Attention

Precision = Literal["float32", "bfloat16", "float16", "int8"]

# By speed on large batches; which there are depends on how torch was built.
ENGINES = ("onednn", "x86", "fbgemm", "qnnpack")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which matrix products are of half precision; with float32 and int8 it changes nothing."""
    half = precision in ("bfloat16", "float16")
    return torch.autocast(device.type, getattr(torch, precision) if half else None, enabled=half)


def prepare(model: Any, precision: Precision = "float32") -> Any:
    """Change a model, in place, so that sampling is quick; it can then neither be trained nor saved.

    A model on a GPU, or for half precision, stays as it is: that is for `autocast`. Raises ValueError for an unknown
    precision, for int8 with a model that is not on the CPU in float32, and where this torch has no such layers.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {brief(precision)}")
    if not isinstance(model, nn.Module) or not hasattr(model, "abilities"):
        raise ValueError(f"model must be a model such as varlite.load gives, got {brief(model)}")
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
    """Compile the blocks in place: one graph of static shapes for each scale, shared by all blocks.

    Pays off where many batches of one size follow, on a GPU above all; the first batch takes a minute or more.
    """
    # Past the limit dynamo would silently go on without compiling.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * model.scales.K)
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


class Int8Linear(SamplingLayer):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return self.layer(x)


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
