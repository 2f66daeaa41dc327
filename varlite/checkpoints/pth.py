"""The published .pth files: opening them safely, and reading their configuration off names and shapes."""

import pickle
from math import isqrt
from pathlib import Path
from typing import Any

import torch

from varlite.models import KINDS, Kind
from varlite.scales import Scales
from varlite.tokenizer import TokenizerConfig


def read_pth(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a published .pth file, memory-mapped; only tensors are unpickled, never code.

    Raises FileNotFoundError, or ValueError for a file that is no such checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    with open(path, "rb") as file:
        head = file.read(512).lstrip().lower()
    if not head:
        raise ValueError(f"{path} is not a checkpoint: it is empty")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"{path} is a web page, not a checkpoint: the download went to a page about the file")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a git-lfs pointer, not the checkpoint itself: run `git lfs pull` in its repository"
        )
    if not head.startswith(b"pk\x03\x04"):
        raise ValueError(
            f"{path} is not a checkpoint written by torch.save (it is not a zip archive), or it is damaged"
        )
    try:
        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds Python objects other than tensors, which are never executed: refused") from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{path} is truncated or damaged ({str(error).splitlines()[0]})") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        keys = list(tensors)[:6] if isinstance(tensors, dict) else type(tensors).__name__
        raise ValueError(f"{path} is not a plain state dict of tensors (it holds {keys})")
    return tensors


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
    lengths = torch.bincount(tensors["lvl_1L"].flatten()).tolist()
    classes_and_null, width = tensors["class_emb.weight"].shape
    temperature = tensors.get("blocks.0.attn.scale_mul_1H11")
    if temperature is not None:
        heads = temperature.numel()
    if heads is None:
        raise ValueError(f"{source}: without attention normalisation the file does not say how many heads; pass heads")
    return published_kind(tensors).config(
        depth=1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")),
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


def tokenizer_config(
    tensors: dict[str, torch.Tensor], source: Path | str, scales: Scales, phi_ratio: float = 0.5, znorm: bool = False
) -> TokenizerConfig:
    """Configuration of a published tokenizer, read off its state dict.

    The sides of the scales, phi's ratio and the kind of lookup leave no trace in the file and are arguments.
    """
    missing = {"encoder.conv_in.weight", "quantize.embedding.weight", "quant_conv.weight"} - set(tensors)
    if missing:
        raise ValueError(
            f"{source} is not a VAR tokenizer: it has no {', '.join(sorted(missing))}; "
            f"it has {', '.join(list(tensors)[:4])}, ..."
        )
    ch, channels = tensors["encoder.conv_in.weight"].shape[:2]
    V, z = tensors["quantize.embedding.weight"].shape

    def blocks(net: str) -> list[list[int]]:
        """Output channels of each residual block, level by level."""
        levels: dict[int, list[int]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"{net}.") and ".block." in name and name.endswith("conv1.weight"):
                levels.setdefault(int(name.split(".")[2]), []).append(tensor.shape[0])
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
    return TokenizerConfig(
        channels=channels,
        vocab=V,
        z=z,
        ch=ch,
        multipliers=tuple((level or [ch])[-1] // ch for level in encoder),
        encoder_blocks=tuple(len(level) for level in encoder),
        decoder_blocks=tuple(len(level) for level in decoder),
        scales=scales.sides,
        phi_shared=shared,
        phi_ratio=phi_ratio,
        znorm=znorm,
    )
