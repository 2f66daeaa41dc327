"""Stage 1: train the multi-scale tokenizer on reconstruction and quantizer loss."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from varlite.data import batch_indices, open_dataset, to_float
from varlite.presets import TOKENIZERS, choose
from varlite.quantizer import MultiScaleQuantizer
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.training.loop import Run, Stateful, command, override, run_loop, warmup_cosine


@torch.no_grad()
def codebook_health(usage_KV: torch.Tensor) -> dict[str, Any]:
    """From counts of how often each scale drew each code: share of codes used at all, and perplexity per scale.

    Perplexity, exp of the entropy, is the number of codes that equal use would need; near 1 a scale has collapsed.
    """
    p_KV = usage_KV / usage_KV.sum(1, keepdim=True)
    perplexity_K = (-(p_KV * p_KV.clamp_min(1e-12).log()).sum(1)).exp()
    return {
        "codes_used": (usage_KV.sum(0) > 0).float().mean().item(),
        "codes_used_per_scale": [(row > 0).sum().item() for row in usage_KV],
        "perplexity_per_scale": [round(p, 1) for p in perplexity_K.tolist()],
    }


def count_codes(idx: list[torch.Tensor], V: int) -> torch.Tensor:
    """(K, V) counts of the tokens of each scale."""
    return torch.stack([torch.bincount(idx_Bl.flatten(), minlength=V) for idx_Bl in idx]).float()


@torch.no_grad()
def reseed_dead_codes(
    quantizer: MultiScaleQuantizer, twin: MultiScaleQuantizer, optimizer: torch.optim.Optimizer,
    dead_V: torch.Tensor, f_BZhw: torch.Tensor, scales: Scales,
) -> None:  # fmt: skip
    """Move codes that nothing chooses onto what the quantizer is asked for: residuals of this batch, scale by scale.

    Every scale gives an equal share of the new codes. Drawn over tokens instead, the finest would give nearly all, and
    the 1 x 1 scale, with one token an image, would be left with the few codes it started on. `twin` is the averaged
    copy of the quantizer, moved as well; the optimizer's moments of a moved code start from zero.
    """
    rows = dead_V.nonzero().flatten()
    if not len(rows):
        return
    _, f_hats = quantizer.encode(f_BZhw, scales)
    rests = [f_BZhw - before for before in [torch.zeros_like(f_BZhw), *f_hats[:-1]]]
    z = [quantizer._shrink(rest, k, scales).flatten(2).transpose(1, 2).flatten(0, 1) for k, rest in enumerate(rests)]
    scale_of_row = torch.arange(len(rows)) % scales.K
    new = torch.stack([z[k][torch.randint(len(z[k]), ())] for k in scale_of_row.tolist()])
    for module in (quantizer, twin):
        module.codebook.weight[rows] = new
    for name, moment in optimizer.state[quantizer.codebook.weight].items():
        if name != "step":
            moment[rows] = 0


class CodeUsage:
    """Running share of each code among a batch's choices, by scale; part of the checkpoint."""

    def __init__(self, K: int, V: int, decay: float = 0.98):
        self.share_KV, self.decay = torch.full((K, V), 1 / V), decay

    def update(self, idx: list[torch.Tensor]) -> None:
        counts_KV = count_codes(idx, self.share_KV.shape[1])
        self.share_KV.lerp_(counts_KV / counts_KV.sum(1, keepdim=True), 1 - self.decay)

    def dead(self, below: float) -> torch.Tensor:
        """Codes that every scale draws less often than `below` times an equal share."""
        return self.share_KV.amax(0) < below / self.share_KV.shape[1]

    def revive(self, rows_V: torch.Tensor) -> None:
        """Give moved codes the time to be found before they are judged again."""
        self.share_KV[:, rows_V] = 1 / self.share_KV.shape[1]

    def state_dict(self) -> dict[str, Any]:
        return {"share_KV": self.share_KV}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.share_KV = state["share_KV"]


@torch.no_grad()
def validate_tokenizer(model: VQVAE, images: torch.Tensor) -> dict[str, Any]:
    """Mean squared error on [-1, 1] images, and codebook health, over (N, channels, H, W) bytes."""
    error, usage_KV = 0.0, torch.zeros(model.scales.K, model.config.vocab)
    for img in images.split(250):
        x = to_float(img)
        idx = model.encode(x)
        usage_KV += count_codes(idx, model.config.vocab)
        error += F.mse_loss(model.decode(idx), x, reduction="sum").item()
    return {"val_mse": error / images.numel()} | codebook_health(usage_KV)


def train_tokenizer(
    preset: str,
    data: str,
    out: Path,
    steps: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    lr: float | None = None,
) -> Path:
    """Train preset `preset` on `data` in the folder `out`; returns the path of the finished model.

    None takes the preset's recipe. Raises ValueError for a preset that does not exist or has no recipe.
    """
    row = choose(TOKENIZERS, preset, "tokenizer preset")
    config, recipe = row.config, row.recipe
    if recipe is None:
        raise ValueError(f"preset {preset} is a published model without a training recipe of ours")
    recipe = override(recipe, steps=steps, batch=batch, lr=lr)
    torch.manual_seed(seed)
    model = VQVAE(config).to(memory_format=torch.channels_last)
    size = model.image_size()
    train, test = (open_dataset(data, split, size, config.channels) for split in ("train", "test"))
    run = Run(
        out,
        {"stage": "tokenizer", "preset": preset, "model": asdict(config), "recipe": asdict(recipe), "seed": seed}
        | {"data": data, "data_sha256": train.checksum, "classes": train.classes},
        command("train-tokenizer", preset=preset, data=data, steps=steps, seed=seed, batch=batch, lr=lr, out=out),
    )
    if run.finished():
        return run.model_path
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
    averaged = cast(VQVAE, ema.module)
    usage = CodeUsage(model.scales.K, config.vocab)
    val_images = test.images(torch.arange(min(10_000, len(test.labels))))

    def train_step(step: int) -> dict[str, float]:
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * warmup_cosine(step, recipe.steps, recipe.warmup)
        indices = batch_indices(len(train.labels), recipe.batch, step, seed)
        img = to_float(train.images(indices)).to(memory_format=torch.channels_last)
        # The codes begin as residuals of the first batch; later the dead ones move, until the last third settles.
        if step == 0 or (step % 50 == 0 and step < recipe.steps * 2 // 3):
            dead_V = torch.ones(config.vocab, dtype=torch.bool) if step == 0 else usage.dead(below=0.05)
            with torch.no_grad():
                f = model.features(img)
            reseed_dead_codes(model.quantizer, averaged.quantizer, optimizer, dead_V, f, model.scales)
            usage.revive(dead_V)
        reconstruction, quantizer_loss, idx = model(img)
        usage.update(idx)
        l2, l1 = F.mse_loss(reconstruction, img), F.l1_loss(reconstruction, img)
        loss = l2 + recipe.l1 * l1 + recipe.quantizer * quantizer_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.update_parameters(model)
        return {
            "loss": loss.item(),
            "l2": l2.item(),
            "l1": l1.item(),
            "quantizer": quantizer_loss.item(),
            "lr": group["lr"],
        }

    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "ema": ema, "usage": usage}
    seconds = run_loop(run, parts, train_step, lambda: validate_tokenizer(averaged, val_images), recipe.steps)
    about = {"kind": "tokenizer", "config": asdict(config), "classes": train.classes}
    return run.finish(about, averaged.state_dict(), seconds)
