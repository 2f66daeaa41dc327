"""One strict table between our tensor names and those of the published checkpoints, both ways.

A rule turns our name into the published one; the names a checkpoint must hold follow from the model that its
configuration builds, so the same rules serve loading and saving. Published tensors that are not weights but follow from
the configuration (masks, level indices, zero biases) are checked when loading and made anew when saving.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from varlite.io.files import check_finite
from varlite.models import require
from varlite.tokenizer import VQVAE

# (our name, published name, published shape from ours). The first rule that matches the whole name applies.
Rule = tuple[str, str, Callable[[tuple[int, ...]], tuple[int, ...]]]


def same(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


TRANSFORMER_RULES: list[Rule] = [
    (r"class_embed\.table\.weight", r"class_emb.weight", same),
    (r"pos_start", r"pos_start", lambda s: (1, *s)),
    (r"pos_LC", r"pos_1LC", lambda s: (1, *s)),
    (r"level_embed\.weight", r"lvl_embed.weight", same),
    (r"token_embed\.(weight|bias)", r"word_embed.\1", same),
    (r"shared_ada_ln\.(weight|bias)", r"shared_ada_lin.1.\1", same),
    (r"blocks\.(\d+)\.attn\.qkv\.weight", r"blocks.\1.attn.mat_qkv.weight", same),
    (r"blocks\.(\d+)\.attn\.(q_bias|v_bias|proj\.weight|proj\.bias)", r"blocks.\1.attn.\2", same),
    (r"blocks\.(\d+)\.attn\.log_scale", r"blocks.\1.attn.scale_mul_1H11", lambda s: (1, *s, 1, 1)),
    (r"blocks\.(\d+)\.mamba\.(.+)", r"blocks.\1.mamba.\2", same),
    (r"blocks\.(\d+)\.ffn\.(fc1|fc2)\.(weight|bias)", r"blocks.\1.ffn.\2.\3", same),
    (r"blocks\.(\d+)\.ada_ln\.linear\.(weight|bias)", r"blocks.\1.ada_lin.1.\2", same),
    (r"blocks\.(\d+)\.ada_ln\.offset_nC", r"blocks.\1.ada_gss", lambda s: (1, 1, *s)),
    (r"head\.ada_ln\.linear\.(weight|bias)", r"head_nm.ada_lin.1.\1", same),
    (r"head\.linear\.(weight|bias)", r"head.\1", same),
]

# Applied one after another to the middle of a name.
AUTOENCODER_PARTS = [
    (r"encoder\.levels\.(\d+)\.", r"encoder.down.\1."),
    (r"\.blocks\.", r".block."),
    (r"\.attentions\.", r".attn."),
    (r"(down\.\d+)\.resample\.", r"\1.downsample."),
    (r"(up\.\d+)\.resample\.", r"\1.upsample."),
    (r"\.middle\.0\.", r".mid.block_1."),
    (r"\.middle\.1\.", r".mid.attn_1."),
    (r"\.middle\.2\.", r".mid.block_2."),
    (r"\.shortcut\.", r".nin_shortcut."),
    (r"\.(attn\.\d+|attn_1)\.proj\.", r".\1.proj_out."),
]


def published_tokenizer_name(name: str, levels: int, phi_shared: int) -> str:
    """Published name of one of VQVAE's tensors."""
    if name.startswith(("pre_quant.", "post_quant.")):
        return name.replace("pre_quant.", "quant_conv.").replace("post_quant.", "post_quant_conv.")
    if name == "quantizer.codebook.weight":
        return "quantize.embedding.weight"
    if name.startswith("quantizer.phis."):
        _, _, i, _, leaf = name.split(".")
        middle = {0: i, 1: "qresi"}.get(phi_shared, f"qresi_ls.{i}")
        return f"quantize.quant_resi.{middle}.{leaf}"
    # The published decoder counts its levels by resolution, ours in the order in which they run.
    name = re.sub(r"decoder\.levels\.(\d+)\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.", name)
    for pattern, replacement in AUTOENCODER_PARTS:
        name = re.sub(pattern, replacement, name)
    return name


def name_table(model: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """{our name: (published name, published shape)} for every weight of a model, which may be on the meta device."""
    table = {}
    for name, tensor in model.state_dict().items():
        if isinstance(model, VQVAE):
            levels, phi_shared = len(model.config.multipliers), model.config.phi_shared
            table[name] = (published_tokenizer_name(name, levels, phi_shared), tuple(tensor.shape))
            continue
        for ours, published, shape in TRANSFORMER_RULES:
            if match := re.fullmatch(ours, name):
                table[name] = (match.expand(published), shape(tuple(tensor.shape)))
                break
        else:
            raise ValueError(f"model: the tensor {name} of {type(model).__name__} has no published name")
    return table


def constants(model: Any) -> dict[str, torch.Tensor]:
    """{published name: value} of the published tensors that are not weights."""
    if isinstance(model, VQVAE):
        return {"quantize.ema_vocab_hit_SV": torch.zeros(model.scales.K, model.config.vocab)}
    require(model, "published names")
    return model.published_constants()


def from_published(model: Any, tensors: dict[str, torch.Tensor], source: Path | str) -> dict[str, torch.Tensor]:
    """Our state dict from a published one, or ValueError that names what is missing, extra, of another shape or NaN.

    Tensors are views of those given: nothing is copied.
    """
    table, fixed = name_table(model), constants(model)
    expected = {published: shape for published, shape in table.values()}
    expected |= {name: tuple(value.shape) for name, value in fixed.items()}
    report = [f"missing {name} {list(expected[name])}" for name in expected.keys() - tensors.keys()]
    report += [f"unexpected {name} {list(tensors[name].shape)}" for name in tensors.keys() - expected.keys()]
    report += [
        f"{name} has shape {list(tensors[name].shape)}, expected {list(expected[name])}"
        for name in expected.keys() & tensors.keys()
        if tuple(tensors[name].shape) != expected[name]
    ]
    if not report:
        report = [
            f"{name} does not hold what follows from the configuration"
            for name, value in fixed.items()
            # How often each code was hit in training is a statistic: any value will do.
            if name != "quantize.ema_vocab_hit_SV" and not torch.equal(tensors[name].float(), value.float())
        ]
    if report:
        raise ValueError(f"{source} does not fit this model: {abbreviate(sorted(report))}")
    check_finite({published: tensors[published] for published, _ in table.values()}, source)
    ours = model.state_dict()
    return {name: tensors[published].view(ours[name].shape) for name, (published, _) in table.items()}


def to_published(model: Any) -> dict[str, torch.Tensor]:
    """The published state dict of a model: its weights under the published names and shapes, and the constants."""
    weights = model.state_dict()
    renamed = {published: weights[name].view(shape) for name, (published, shape) in name_table(model).items()}
    return renamed | constants(model)


def abbreviate(lines: Iterable[str], most: int = 6) -> str:
    lines = list(lines)
    more = f"; and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + more
