"""The precision of a model's matrix products: float32, half of it by autocast on a GPU, or int8 on a CPU.

With int8 the linear layers of the blocks, weights once and activations as they come, are rounded to 8 bits: weights
with a scale for each output, activations with one for each product. More images a second, and other images. Attention
proper, norms, AdaLN, embeddings and the head stay in float32, and so does the tokenizer.
"""

import warnings
from typing import Literal

import torch
from torch import nn

from varlite.models import VAR
from varlite.pretrained import on_meta
from varlite.transformer import Attention

Precision = Literal["float32", "bfloat16", "float16", "int8"]

# By speed on large batches; which there are depends on how torch was built.
ENGINES = ("onednn", "x86", "fbgemm", "qnnpack")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which matrix products are of half precision; with float32 and int8 it changes nothing."""
    half = precision in ("bfloat16", "float16")
    return torch.autocast(device.type, getattr(torch, precision) if half else None, enabled=half)


def at_precision(model: VAR, precision: Precision) -> VAR:
    """The model to sample with, within `autocast`: `model` itself but for int8. Raises ValueError as `to_int8` does."""
    return to_int8(model) if precision == "int8" else model


class Int8Attention(Attention):
    """Attention whose joint projection is `int8`, bias included."""

    int8: nn.Module

    def joint(self, x_BlC: torch.Tensor) -> torch.Tensor:
        return self.int8(x_BlC)


def to_int8(model: VAR) -> VAR:
    """A model whose blocks compute their linear layers in int8; it shares all other weights with `model`.

    For sampling on a CPU. Raises ValueError for a model elsewhere or not in float32, and where this torch cannot do it.
    """
    weight = model.pos_LC
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise ValueError(f"precision: int8 is for a float32 model on the CPU, got {weight.dtype} on {weight.device}")
    twin = on_meta(type(model), model.config)
    twin.load_state_dict(model.state_dict(), assign=True)
    for block in twin.blocks:
        attn = block.get_submodule("attn")
        assert isinstance(attn, Attention)
        joint = nn.Linear(attn.qkv.in_features, attn.qkv.out_features, device="meta")
        joint.load_state_dict({"weight": attn.qkv.weight, "bias": attn.joint_bias().detach()}, assign=True)
        attn.__class__, attn.int8 = Int8Attention, joint
        del attn.qkv
        for name, part in block.named_children():
            if name != "ada_ln":
                quantize_linears(part)
    return twin.eval()


def quantize_linears(module: nn.Module) -> None:
    """In place. Raises ValueError where this torch has no engine for it."""
    supported = torch.backends.quantized.supported_engines
    engine = next((name for name in ENGINES if name in supported), None)
    quantization = getattr(torch.ao, "quantization", None)
    if engine is None or not hasattr(quantization, "quantize_dynamic"):
        raise ValueError(f"precision: torch {torch.__version__} has no dynamic int8 layers for this CPU")
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, engine
    with warnings.catch_warnings():
        # It says that torchao is to replace it, whose linears take up to four times as long unless compiled.
        warnings.simplefilter("ignore")
        quantization.quantize_dynamic(module, {nn.Linear: quantization.per_channel_dynamic_qconfig}, inplace=True)
    torch.backends.quantized.engine = before
