"""Parts of `varlite verify` about training: two steps of both stages, the block mask, and weights over several GPUs.

The losses are those of `varlite train`; the loop around them is plain torch, since accelerate may not be here.
"""

import math
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as processes
from torch import nn

from varlite import transformer
from varlite.inference import Precision, autocast
from varlite.models import VAR, Model, VARConfig, kind_of
from varlite.presets import MODELS, TOKENIZERS
from varlite.scales import Scales
from varlite.speed.stopwatch import wait_for
from varlite.speed.verify_memory import GB
from varlite.speed.verify_parts import Job, Row, does_not_fit, free
from varlite.tokenizer import VQVAE
from varlite.training.discriminators import PatchDiscriminator
from varlite.training.losses import adaptive_weight, hinge_loss

SIZES = {"var-d16": 32, "var-d24": 16, "var-d30": 8}  # images at a time on a GPU
SMALL = {"fashion-var-d4": 8, "fashion-mvar-d4": 8}
STEPS = 2
SHARDED = VARConfig(depth=2, width=64, heads=2, classes=10, vocab=512, z=16, scales=[1, 2, 3, 5, 7])


def random_batch(
    model: Model, batch: int, device: torch.device
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Tokens, labels and chances that drop no label."""
    c, draws = model.config, torch.Generator().manual_seed(0)
    idx = [torch.randint(c.vocab, (batch, l), generator=draws).to(device) for l in Scales.of(c.scales).lengths]
    label_B = torch.randint(c.classes, (batch,), generator=draws).to(device)
    return idx, label_B, torch.ones(batch, model.chances, device=device)


def fused(device: torch.device) -> dict[str, bool]:
    return {"fused": device.type in ("cuda", "cpu")}


def transformer_steps(
    model: Model, tokenizer: VQVAE, batch: int, device: torch.device, precision: Precision
) -> tuple[list[float], float]:
    """Losses before each step on one batch and after the last, and images a second of the last step."""
    learner = model.train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, **fused(device))
    example, losses, rate = random_batch(learner, batch, device), [], 0.0
    for step in range(STEPS + 1):
        torch.manual_seed(step)
        start = wait_for(device)
        with autocast(device, precision), torch.set_grad_enabled(step < STEPS):
            loss = learner.loss(tokenizer, *example)
        if step < STEPS:
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 2.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            rate = batch / (wait_for(device) - start)
        losses.append(loss.item())
    return losses, rate


def tokenizer_steps(
    model: VQVAE, batch: int, device: torch.device, precision: Precision
) -> tuple[list[float], list[float], float]:
    """Losses of the tokenizer and of its discriminator over the steps on one batch, and images a second."""
    net = PatchDiscriminator(model.config.channels, model.image_size()).to(device)
    ours = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.5, 0.9), weight_decay=0.0, **fused(device))
    theirs = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.5, 0.9), weight_decay=0.0, **fused(device))
    shape = (batch, model.config.channels, *model.image_size())
    img = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(device)
    losses, discriminator, rate = [], [], 0.0
    for _ in range(STEPS):
        start = wait_for(device)
        with autocast(device, precision):
            x = model(img)
            l2, gan = (x.reconstruction - img).square().mean(), -net(x.reconstruction).mean()
            loss = l2 + 0.1 * adaptive_weight(l2, gan, model.decoder.conv_out.weight) * gan + x.quantizer_loss
        loss.backward()
        ours.step()
        with autocast(device, precision):
            real, fake = net(torch.cat((img, x.reconstruction.detach()))).chunk(2)
            theirs.zero_grad()  # the generator's loss came by here too
            hinge = hinge_loss(real, fake)
        hinge.backward()
        theirs.step()
        ours.zero_grad(set_to_none=True)
        theirs.zero_grad(set_to_none=True)
        rate = batch / (wait_for(device) - start)
        losses.append(loss.item())
        discriminator.append(hinge.item())
    return losses, discriminator, rate


def training(job: Job) -> Iterator[Row]:
    """Both stages, and on a GPU the block mask beside the dense one."""
    device = job.device
    precision: Precision = "bfloat16" if device.type == "cuda" else "float32"
    if device.type == "cuda":
        yield from flex_rows(device)
    for name, batch in (SMALL if job.small else SIZES).items():
        what = f"stage 2, {name}, batch {batch}, {precision}"
        if job.left() < (0 if job.small else 5):
            yield Row(what, "not run", note="the budget of this part is used up")
            continue
        try:
            yield stage_2(what, name, batch, device, precision)
        except Exception as error:
            if not does_not_fit(error):
                raise
            yield Row(what, "not run", note="does not fit into the memory of this device")
        free(device)
    name, batch = ("fashion-vq", 8) if job.small else (MODELS["var-d16"].tokenizer, 4)
    what = f"stage 1, {name}, batch {batch}, {precision}"
    if job.left() < 0:
        yield Row(what, "not run", note="the budget of this part is used up")
        return
    torch.manual_seed(0)
    with device:
        model = VQVAE(TOKENIZERS[name].config)
    losses, discriminator, rate = tokenizer_steps(model.train(), batch, device, precision)
    good = all(math.isfinite(x) for x in losses + discriminator)
    yield Row(what, float(f"{rate:.3g}"), "images/s", "finite losses", good, steps(losses))


def steps(losses: list[float]) -> str:
    return "loss " + ", ".join(f"{x:.4g}" for x in losses)


def stage_2(what: str, name: str, batch: int, device: torch.device, precision: Precision) -> Row:
    """Two steps on one batch of random tokens; after them its loss must be lower."""
    config = MODELS[name].config
    torch.manual_seed(0)
    with device:
        model = kind_of(config).model(config)
        tokenizer = VQVAE(TOKENIZERS[MODELS[name].tokenizer].config).eval().requires_grad_(False)
    losses, rate = transformer_steps(model, tokenizer, batch, device, precision)
    good = all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    held = f", {torch.cuda.max_memory_allocated(device) / GB:.1f} GB" if device.type == "cuda" else ""
    return Row(what, float(f"{rate:.3g}"), "images/s", "a falling loss", good, steps(losses) + held)


def flex_rows(device: torch.device) -> Iterator[Row]:
    """Whether FlexAttention gives what the dense mask gives."""
    for dtype, limit in ((torch.float32, 0.01), (torch.bfloat16, 0.05)):
        what = f"FlexAttention and the dense mask, {str(dtype).removeprefix('torch.')}"
        try:
            off = transformer.flex_error(device, dtype, 64)
        except Exception as error:  # of a compiler, of any type
            yield Row(what, "not there", note=f"training takes the dense mask: {' '.join(str(error).split())[:120]}")
            continue
        yield Row(what, float(f"{off:.2g}"), "largest difference", f"at most {limit}", off < limit)


# Several processes


def several(job: Job) -> Iterator[Row]:
    """Weights spread over the GPUs (FSDP): the losses of one process, computed by all of them."""
    count = torch.cuda.device_count() if job.device.type == "cuda" else 0
    if count < 2:
        yield Row("weights spread over several GPUs", "not run", note="there is one GPU, or none")
        return
    yield sharded(count, "cuda", max(20.0, job.left()))


def sharded(count: int, device: str, seconds: float) -> Row:
    """Two steps over `count` processes beside the same on one device."""
    alone = sharded_losses(torch.device(device), 0, 1, 2 * count)
    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(one_of_several, (count, device, folder, seconds), count)
        together = torch.load(Path(folder) / "losses.pt", weights_only=True)
    off = max(abs(a - b) for a, b in zip(alone, together, strict=True))
    what = f"weights spread over {count} processes (FSDP)"
    return Row(what, float(f"{off:.2g}"), "difference of losses", "at most 0.001", off <= 1e-3, steps(together))


def one_of_several(rank: int, count: int, device: str, folder: str, seconds: float) -> None:
    watchdog = threading.Timer(seconds, os._exit, [1])  # a lost partner would be waited for without end
    watchdog.daemon = True
    watchdog.start()
    here = torch.device(device, rank) if device == "cuda" else torch.device(device)
    if device == "cuda":
        torch.cuda.set_device(here)
    backend = "nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, f"file://{folder}/meet", rank=rank, world_size=count)
    losses = sharded_losses(here, rank, count, 2 * count)
    if rank == 0:
        torch.save(losses, Path(folder) / "losses.pt")
    torch.distributed.destroy_process_group()


def sharded_losses(device: torch.device, rank: int, count: int, batch: int) -> list[float]:
    """Losses of a global batch before each step and after the last, of which this process computes its share."""
    torch.manual_seed(0)
    learner: Any = VAR(SHARDED).to(device).train()
    tokenizer = VQVAE(TOKENIZERS["fashion-vq"].config).eval().requires_grad_(False).to(device)
    idx, label_B, chance_Bn = random_batch(learner, batch, device)
    if count > 1:
        from torch.distributed.fsdp import fully_shard

        for block in learner.blocks:
            fully_shard(block)
        fully_shard(learner)
    optimizer, losses = torch.optim.AdamW(learner.parameters(), lr=1e-3), []
    mine = slice(rank * len(label_B) // count, (rank + 1) * len(label_B) // count)
    share: Any = [x[mine] for x in idx], label_B[mine], chance_Bn[mine]
    for _ in range(STEPS + 1):
        loss = learner.loss(tokenizer, *share)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach().clone()
        if count > 1:
            torch.distributed.all_reduce(total)
        losses.append((total / count).item())
    return losses
