"""The .pth files of others: opening them safely, finding the weights in them, reading off their configuration."""

import pickle
import re
import sys
from math import isqrt
from pathlib import Path
from typing import Any

import torch

from varlite.io.files import check_whole
from varlite.models import KINDS, Kind
from varlite.scales import Scales
from varlite.tokenizer import TokenizerConfig

# Where the trainer of VAR keeps its models, and what others call the one that they trained.
PARTS = {"transformer": "var_wo_ddp", "tokenizer": "vae_local"}
WRAPPERS = ("state_dict", "model_state_dict", "model")
# Put before a name by DistributedDataParallel and Lightning; and anywhere in it by torch.compile and FSDP.
BEFORE, WITHIN = ("module.", "model."), re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.")
MOST_TOKENS = 2**14  # a mask of their square is made and compared


def read_pth(path: Path, part: str = "transformer") -> dict[str, torch.Tensor]:
    """Tensors of a .pth file, memory-mapped, under their published names; only tensors are unpickled, never code.

    The file is a state dict, or the checkpoint of a trainer that holds one: `part`, if it holds both. What was
    unpacked and which prefixes were stripped is said on stderr.

    Raises FileNotFoundError, or ValueError for a file that is no such checkpoint.
    """
    found, said = open_pth(path), []
    for key in ("trainer", PARTS[part], *WRAPPERS):
        if isinstance(inner := found.get(key), dict):
            found = inner
            said.append(f"read from {key!r}")
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if len(tensors) < len(found) or not found:
        raise ValueError(f"{path} is not a plain state dict of tensors (it holds {list(found)[:6]})")
    tensors, prefixes, left = strip(tensors)
    said += [f"{prefix!r} stripped from the names" for prefix in prefixes]
    said += [f"{left} tensors outside of it left out"] * bool(left)
    size = path.stat().st_size
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise ValueError(f"{path}: {name} is not an ordinary tensor")
        if tensor.numel() * tensor.element_size() > size:
            raise ValueError(f"{path}: {name} claims {list(tensor.shape)}, more than the file holds")
    if said:
        print(f"{path}: {', '.join(said)}", file=sys.stderr)
    return tensors


def strip(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str], int]:
    """(tensors without the prefixes of wrappers, those prefixes, how many tensors had none and are left out)."""
    found = [WITHIN.search(name) for name in tensors]
    prefixes = sorted({match[0] for match in found if match})
    tensors, left = {WITHIN.sub("", name): tensor for name, tensor in tensors.items()}, 0
    while prefix := next((p for p in BEFORE if any(name.startswith(p) for name in tensors)), None):
        inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        left += len(tensors) - len(inside)
        tensors = inside
        prefixes.append(prefix)
    return tensors, prefixes, left


def holds_tokenizer(path: Path) -> bool:
    """Whether a file is a checkpoint of VAR's trainer with the tokenizer in it."""
    if path.suffix == ".safetensors":
        return False
    trainer = open_pth(path).get("trainer")
    return isinstance(trainer, dict) and isinstance(trainer.get(PARTS["tokenizer"]), dict)


def open_pth(path: Path) -> dict[str, Any]:
    """The dictionary in a file of torch.save. Raises as `read_pth` does."""
    check_whole(path)
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if not zipped:
        raise ValueError(
            f"{path} is not a checkpoint written by torch.save (it is not a zip archive), or it is damaged"
        )
    try:
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds Python objects other than tensors, which are never executed: refused") from None
    except Exception as error:  # damaged pickles raise what they please
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is truncated or damaged ({reason})") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError(f"{path} is not a plain state dict of tensors (it holds {type(found).__name__})")
    return found


def published_kind(tensors: dict[str, torch.Tensor]) -> Kind:
    """The kind of model whose published files hold tensors of these names."""
    known = [kind for kind in KINDS.values() if "published names" in kind.model.abilities]
    return max(known, key=lambda kind: kind.model.published_mark in tensors and len(kind.model.published_mark))


def transformer_config(tensors: dict[str, torch.Tensor], source: Path | str, heads: int | None = None) -> Any:
    """Configuration of a published transformer, read off the names and shapes of its state dict.

    The number of heads shows only where attention is normalised; elsewhere it must be given.
    """
    missing = {"class_emb.weight", "word_embed.weight", "lvl_1L", "head.weight", "blocks.0.ffn.fc1.weight"} - set(
        tensors
    )
    if missing:
        raise ValueError(
            f"{source} is not a VAR transformer: it has no {', '.join(sorted(missing))}; "
            f"it has {', '.join(list(tensors)[:4])}, ..."
        )
    check_sizes(tensors, source)
    levels, blocks = tensors["lvl_1L"].flatten(), [re.match(r"blocks\.(\d{1,9})\.", name) for name in tensors]
    depth = 1 + max(int(match[1]) for match in blocks if match)
    flat = [name for name in ("class_emb.weight", "word_embed.weight", "head.weight") if tensors[name].ndim != 2]
    if flat or levels.is_floating_point() or not 0 < len(levels) <= MOST_TOKENS or depth > len(tensors):
        wrong = flat[0] if flat else "lvl_1L" if depth <= len(tensors) else f"blocks.{depth - 1}"
        raise ValueError(f"{source} is not a VAR transformer: {wrong} cannot be one's")
    if levels.min() < 0 or levels.max() >= len(levels):
        raise ValueError(f"{source}: lvl_1L does not hold the scale of each token")
    lengths = torch.bincount(levels).tolist()
    classes_and_null, width = tensors["class_emb.weight"].shape
    temperature = tensors.get("blocks.0.attn.scale_mul_1H11")
    if temperature is not None:
        heads = temperature.numel()
    if heads is None:
        raise ValueError(f"{source}: without attention normalisation the file does not say how many heads; pass heads")
    return configure(
        published_kind(tensors).config,
        source,
        depth=depth,
        width=width,
        heads=heads,
        classes=classes_and_null - 1,
        vocab=tensors["head.weight"].shape[0],
        z=tensors["word_embed.weight"].shape[1],
        scales=[isqrt(n) for n in lengths],
        shared_adaln="shared_ada_lin.1.weight" in tensors,
        attn_norm=temperature is not None,
        ffn_ratio=tensors["blocks.0.ffn.fc1.weight"].shape[0] / width,
    )


def tokenizer_config(tensors: dict[str, torch.Tensor], source: Path | str, scales: Scales) -> TokenizerConfig:
    """Configuration of a published tokenizer, read off its state dict.

    The sides of the scales leave no trace in the file and are an argument; nor do phi's ratio and the kind of lookup,
    which are taken to be the published ones.
    """
    missing = {"encoder.conv_in.weight", "quantize.embedding.weight", "quant_conv.weight"} - set(tensors)
    if missing:
        raise ValueError(
            f"{source} is not a VAR tokenizer: it has no {', '.join(sorted(missing))}; "
            f"it has {', '.join(list(tensors)[:4])}, ..."
        )
    check_sizes(tensors, source)
    if tensors["encoder.conv_in.weight"].ndim != 4 or tensors["quantize.embedding.weight"].ndim != 2:
        raise ValueError(f"{source} is not a VAR tokenizer: its first layer or its codebook has another rank")
    ch, channels = tensors["encoder.conv_in.weight"].shape[:2]
    V, z = tensors["quantize.embedding.weight"].shape

    def blocks(net: str) -> list[list[int]]:
        """Output channels of each residual block, level by level."""
        levels: dict[int, list[int]] = {}
        for name, tensor in tensors.items():
            if match := re.fullmatch(rf"{re.escape(net)}\.(\d{{1,2}})\.block\..*conv1\.weight", name):
                levels.setdefault(int(match[1]), []).append(len(tensor))
        return [levels.get(i, []) for i in range(1 + max(levels, default=-1))]

    encoder, decoder = blocks("encoder.down"), blocks("decoder.up")
    if not encoder or len(encoder) != len(decoder):
        raise ValueError(
            f"{source} is not a VAR tokenizer: its encoder has residual blocks at {len(encoder)} levels, "
            f"its decoder at {len(decoder)}"
        )
    phis = [name for name in tensors if name.startswith("quantize.quant_resi.") and name.endswith(".weight")]
    shared = (
        1 if any(".qresi." in name for name in phis) else len(phis) if any(".qresi_ls." in name for name in phis) else 0
    )
    rows = tensors["quantize.ema_vocab_hit_SV"].shape[0] if "quantize.ema_vocab_hit_SV" in tensors else scales.K
    if rows != scales.K:
        raise ValueError(f"{source} was trained on {rows} scales; pass scales with as many sides (got {scales.sides})")
    return configure(
        TokenizerConfig,
        source,
        channels=channels,
        vocab=V,
        z=z,
        ch=ch,
        multipliers=tuple((level or [ch])[-1] // ch for level in encoder),
        encoder_blocks=tuple(len(level) for level in encoder),
        decoder_blocks=tuple(len(level) for level in decoder),
        scales=scales.sides,
        phi_shared=shared,
    )


def check_sizes(tensors: dict[str, torch.Tensor], source: Path | str) -> None:
    """Raises ValueError that names a tensor without axes or without values: no published model has one."""
    for name, tensor in tensors.items():
        if not tensor.ndim or not tensor.numel():
            raise ValueError(f"{source}: {name} has shape {list(tensor.shape)}: it holds no weights")


def configure(cls: Any, source: Path | str, **entries: Any) -> Any:
    """A configuration from what was found in `source`, which is named if it makes none."""
    try:
        return cls(**entries)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{source}: {error}") from None
