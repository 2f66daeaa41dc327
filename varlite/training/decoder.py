"""Between the stages: go on training the decoder alone. Encoder, codebook and phi's rest: tokens keep their meaning.

To adapt a tokenizer's pictures to other images, or to polish them, without making the transformers that speak its
tokens useless.
"""

from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from varlite.data import batch_indices, open_dataset, to_float
from varlite.presets import TokenizerRecipe
from varlite.pretrained import load_tokenizer, weights_file
from varlite.tokenizer import VQVAE
from varlite.training.loop import Run, Stateful, command, override, run_loop, warmup_cosine
from varlite.training.tokenizer import validate_tokenizer
from varlite.training.tokens import cache_tokens, fingerprint

RECIPE = TokenizerRecipe(steps=2400, batch=64, lr=5e-4, warmup=100, ema=0.998, l1=0.2, quantizer=0.0)


def tune_decoder(
    tokenizer: str,
    data: str,
    out: Path,
    steps: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    lr: float | None = None,
) -> Path:
    """Train the decoder of `tokenizer` on `data` in the folder `out`; returns the path of the finished model.

    The other arguments left at None are the recipe's. Raises as `train_tokenizer` does.
    """
    recipe = override(RECIPE, steps=steps, batch=batch, lr=lr)
    torch.manual_seed(seed)
    model = load_tokenizer(tokenizer).to(memory_format=torch.channels_last)
    size, channels = model.image_size(), model.config.channels
    train, test = (open_dataset(data, split, size, channels) for split in ("train", "test"))
    run = Run(
        out,
        {"stage": "decoder", "tokenizer_sha256": fingerprint(model), "model": asdict(model.config)}
        | {
            "recipe": asdict(recipe),
            "seed": seed,
            "data": data,
            "data_sha256": train.checksum,
            "classes": train.classes,
        },
        command("tune-decoder", tokenizer=tokenizer, data=data, steps=steps, seed=seed, batch=batch, lr=lr, out=out),
    )
    if run.finished():
        return run.model_path
    cache = cache_tokens(model, data, "train")
    model.requires_grad_(False)
    tuned = [*model.post_quant.requires_grad_(True).parameters(), *model.decoder.requires_grad_(True).parameters()]
    optimizer = torch.optim.AdamW(tuned, lr=recipe.lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
    averaged = cast(VQVAE, ema.module)
    val_images = test.images(torch.arange(min(10_000, len(test.labels))))

    def train_step(step: int) -> dict[str, float]:
        lr = recipe.lr * warmup_cosine(step, recipe.steps, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr
        indices = batch_indices(len(train.labels), recipe.batch, step, seed)
        f_hat = model.empty(len(indices))
        for k, idx_Bl in enumerate(model.scales.split(cache.batch(indices)[0])):
            f_hat = model.accumulate(f_hat, model.embed(idx_Bl), k)
        reconstruction = model.decoder(model.post_quant(f_hat.contiguous(memory_format=torch.channels_last)))
        img = to_float(train.images(indices))
        l2, l1 = F.mse_loss(reconstruction, img), F.l1_loss(reconstruction, img)
        loss = l2 + recipe.l1 * l1
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned, 1.0)
        optimizer.step()
        ema.update_parameters(model)
        return {"loss": loss.item(), "l2": l2.item(), "l1": l1.item(), "lr": lr}

    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "ema": ema}
    seconds = run_loop(run, parts, train_step, lambda: validate_tokenizer(averaged, val_images), recipe.steps)
    about = {"kind": "tokenizer", "config": asdict(model.config), "classes": train.classes}
    return run.finish(about, averaged.state_dict(), seconds, started_from=weights_file(tokenizer))
