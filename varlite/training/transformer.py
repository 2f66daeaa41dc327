"""Stage 2: train a next-scale transformer on cached token maps."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from varlite.data import TokenCache, batch_indices
from varlite.files import save_model
from varlite.models import MODELS as KINDS
from varlite.models import VAR
from varlite.presets import MODELS, choose
from varlite.pretrained import load_tokenizer
from varlite.tokenizer import VQVAE
from varlite.training.loop import Run, Stateful, command, override, run_loop, warmup_cosine
from varlite.training.tokens import cache_tokens


def decay_groups(model: VAR, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices, the class table among them; none on positions, levels, biases and other vectors."""
    without = ("pos_start", "pos_LC", "level_embed.weight")
    named = list(model.named_parameters())
    decays = {name for name, p in named if p.ndim >= 2 and name not in without and not name.endswith("offset_nC")}
    return [
        {"params": [p for name, p in named if name in decays], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decays], "weight_decay": 0.0},
    ]


@torch.inference_mode()
def validate_transformer(model: VAR, tokenizer: VQVAE, cache: TokenCache, n: int = 2000) -> dict[str, float]:
    """Cross-entropy and token error over the first n examples, all tokens and last scale; no label is dropped."""
    model.eval()
    start, sums, count = model.scales.spans[-1][0], torch.zeros(4), min(n, len(cache))
    for rows in torch.arange(count).split(250):
        idx_BL, label_B = cache.batch(rows)
        logits_BLV = model(tokenizer.inputs(model.scales.split(idx_BL)), label_B)
        loss_BL = F.cross_entropy(logits_BLV.transpose(1, 2), idx_BL, reduction="none")
        error_BL = (logits_BLV.argmax(-1) != idx_BL).float()
        sums += torch.stack([x.mean(1).sum() for x in (loss_BL, loss_BL[:, start:], error_BL, error_BL[:, start:])])
    names = ("val_loss", "val_loss_last", "val_error", "val_error_last")
    return dict(zip(names, (sums / count).tolist(), strict=True))


def train(
    preset: str,
    data: str,
    out: Path,
    tokenizer: str | Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    lr: float | None = None,
) -> Path:
    """Train preset `preset` on `data` in the folder `out`; returns the path of the finished model.

    tokenizer: a preset, folder or file; None is the preset's own. The other arguments left at None are the recipe's.
    The number of classes is the data's, whatever the preset says. Raises ValueError or FileNotFoundError for arguments
    that do not exist or do not go together, before anything is computed.
    """
    row = choose(MODELS, preset, "model preset")
    if row.recipe is None:
        raise ValueError(f"preset {preset} is a published model without a training recipe of ours")
    recipe = override(row.recipe, steps=steps, batch=batch, lr=lr)
    vq = load_tokenizer(tokenizer or row.tokenizer)
    caches = {split: cache_tokens(vq, data, split) for split in ("train", "test")}
    config = replace(
        row.config,
        classes=len(caches["train"].meta["classes"]),
        vocab=vq.config.vocab,
        z=vq.config.z,
        scales=vq.scales.sides,
    )
    run = Run(
        out,
        {
            "stage": "transformer",
            "preset": preset,
            "model": asdict(config),
            "recipe": asdict(recipe),
            "seed": seed,
            "data": data,
        }
        | {key: caches["train"].meta[key] for key in ("data_sha256", "tokenizer_sha256", "classes")},
        command(
            "train", preset=preset, data=data, tokenizer=tokenizer, steps=steps, seed=seed, batch=batch, lr=lr, out=out
        ),
    )
    if run.finished():
        return run.model_path

    torch.manual_seed(seed)
    kind, cls = next((kind, cls) for kind, (cls, config_cls) in KINDS.items() if type(config) is config_cls)
    model = cls(config).train()
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.weight_decay), lr=recipe.lr, betas=(0.9, 0.95), fused=True)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
    averaged = cast(VAR, ema.module)

    def train_step(step: int) -> dict[str, float]:
        lr = recipe.lr * warmup_cosine(step, recipe.steps, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr
        idx_BL, label_B = caches["train"].batch(batch_indices(len(caches["train"]), recipe.batch, step, seed))
        loss = model.loss(vq, model.scales.split(idx_BL), label_B)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        ema.update_parameters(model)
        return {"loss": loss.item(), "grad_norm": norm.item(), "lr": lr}

    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "ema": ema}
    seconds = run_loop(run, parts, train_step, lambda: validate_transformer(averaged, vq, caches["test"]), recipe.steps)
    # The folder is complete in itself: a model without its tokenizer is of no use.
    save_model(out / "tokenizer.safetensors", {"kind": "tokenizer", "config": asdict(vq.config)}, vq.state_dict())
    about = {
        "kind": kind,
        "config": asdict(config),
        "tokenizer": row.tokenizer,
        "classes": caches["train"].meta["classes"],
    }
    return run.finish(about, averaged.state_dict(), seconds)
