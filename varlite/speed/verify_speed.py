"""Parts of `varlite verify` about sampling: images a second of the published sizes on random weights, and memory."""

import time
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch

from varlite.checkpoints.assemble import twin
from varlite.checkpoints.empty import random_model
from varlite.checkpoints.load import load
from varlite.inference import Precision, autocast, check_compiler, compile_blocks, prepare
from varlite.models import VAR, VARConfig
from varlite.sampling import generate
from varlite.speed.stopwatch import gemm_rate, wait_for
from varlite.speed.verify_memory import GB, LARGEST, NoDecoder, caches, counted
from varlite.speed.verify_parts import Job, Row, does_not_fit, free
from varlite.tokenizer import VQVAE, TokenizerConfig

# Images a second of the published code at batch 64 in half precision, without the decoder, by (card, source). Of the
# L20's figures the paper was not found; CoDe (arXiv 2411.17787) measures in this way.
L20, RTX_4090 = ("L20", "source not found"), ("RTX 4090", "arXiv 2605.01220")
PUBLISHED = {"var-d20": {L20: 49.6}, "var-d24": {L20: 30.9}, "var-d30": {L20: 17.7, RTX_4090: 15.2}}
SIZES = ("var-d30", "var-d24", "var-d16", "var-d20")
BATCHES = (64, 1, 8, 16, 32, 4, 2)  # the ones that matter most come first
FLOAT32_BATCHES = (64, 1, 8)
SETTINGS: dict[str, Any] = {"cfg": 1.5, "top_k": 900, "top_p": 0.96}  # the papers'
SHIPPED = {"fashion-var-d4": (1, 16), "fashion-mvar-d4": (16,)}  # on a CPU, and the batches
NARROW, NARROW_TOKENIZER = VARConfig(depth=16, width=64, heads=1), TokenizerConfig(ch=32)
ENOUGH = 1.5  # seconds for the runs that are timed


def about_machine(job: Job) -> Iterator[Row]:
    """The device, and what it reaches in one large matrix product."""
    device = job.device
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        yield Row("GPU", found.name, "", "", None, f"compute capability {found.major}.{found.minor}")
        yield Row("memory", round(found.total_memory / GB, 1), "GB", "", None, f"{torch.cuda.device_count()} of them")
    else:
        yield Row("device", device.type, "", "", None, f"{torch.get_num_threads()} threads")
    n = 8192 if device.type == "cuda" else 1024
    for dtype in (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,):
        rate = gemm_rate(device, n, 5, dtype) / 1e12
        yield Row(f"matrix product, {str(dtype).removeprefix('torch.')}", float(f"{rate:.3g}"), "TFLOP/s")


def images_per_second(
    model: Any, tokenizer: VQVAE, batch: int, device: torch.device, precision: Precision = "float32"
) -> float:
    """Median over some runs. Two come before: one to warm up, and one that a CUDA graph is recorded in."""
    labels, times, begin = [i % model.config.classes for i in range(batch)], [], 0.0
    settings = SETTINGS | {"top_k": min(SETTINGS["top_k"], model.config.vocab)}
    with autocast(device, precision):
        for turn in range(12):
            start = wait_for(device)
            generate(model, tokenizer, labels, seeds=turn, **settings)
            times.append(wait_for(device) - start)
            begin = begin if turn > 1 else time.perf_counter()
            if turn > 1 and time.perf_counter() - begin > ENOUGH:
                break
    return batch / median(times[2:])


def rate_row(what: str, rate: float, beside: str = "", note: str = "") -> Row:
    return Row(what, float(f"{rate:.4g}"), "images/s", beside, rate > 0, note)


def published_rate(name: str, batch: int) -> str:
    """What to show beside a figure in half precision."""
    if batch != 64 or name not in PUBLISHED:
        return ""
    return "published " + ", ".join(f"{rate} on {card} ({of})" for (card, of), rate in PUBLISHED[name].items())


def sampling(job: Job) -> Iterator[Row]:
    """Images a second, without the decoder as published, and the decoder by itself."""
    yield from small_models(job) if job.small else all_sizes(job)


def small_models(job: Job) -> Iterator[Row]:
    """For a CPU: the models that ship, and one of d16's structure whose layers are narrow."""
    for name, batches in SHIPPED.items():
        model, tokenizer = load(name, device=job.device)
        ready = prepare(twin(model))
        for batch in batches:
            if job.left() < 0:
                yield Row(f"{name}, batch {batch}", "not run", note="the budget of this part is used up")
            else:
                rate = images_per_second(ready, tokenizer, batch, job.device)
                yield rate_row(f"{name}, batch {batch}, with decoder", rate)
    if job.left() < 0:
        yield Row("VAR-d16's structure", "not run", note="the budget of this part is used up")
        return
    torch.manual_seed(0)
    model, tokenizer = prepare(VAR(NARROW).to(job.device)), VQVAE(NARROW_TOKENIZER).eval().to(job.device)
    start = wait_for(job.device)
    image = generate(model, tokenizer, [0], seeds=0, **SETTINGS)
    seconds = wait_for(job.device) - start
    good = image.shape == (1, 3, *tokenizer.image_size()) and bool(image.isfinite().all())
    what = f"VAR-d16's structure ({NARROW.depth} blocks of width {NARROW.width}, {model.scales.K} scales), one image"
    yield Row(what, round(seconds, 2), "s", "finite pixels", good)


def all_sizes(job: Job) -> Iterator[Row]:
    """The published sizes on random weights, each of the model's settings in turn, those that matter most first."""
    end = time.monotonic() + job.left()
    for number, name in enumerate(SIZES):
        share = (end - time.monotonic()) / (len(SIZES) - number)  # what one model leaves, the next may use
        yield from of_size(job, name, time.monotonic() + share)
        free(job.device)


def of_size(job: Job, name: str, until: float) -> Iterator[Row]:
    """One model: in bfloat16 from the largest batch, then float32; as CUDA graphs, and one without."""
    model, tokenizer = random_model(name, job.device)
    bare = twin(tokenizer, NoDecoder)
    plans: list[tuple[Precision, int]] = [("bfloat16", batch) for batch in BATCHES[:2]]
    plans += [("float32", batch) for batch in FLOAT32_BATCHES] + [("bfloat16", batch) for batch in BATCHES[2:]]
    ready: dict[Precision, Any] = {}
    for precision, batch in plans:
        what = f"{name}, batch {batch}, {precision}"
        if time.monotonic() > until:
            yield Row(what, "not run", note="the budget of this part is used up")
            continue
        try:
            if precision not in ready:
                ready.clear()  # the graphs of the other precision hold memory
                free(job.device)
                ready[precision] = prepare(twin(model), precision)
            rate = images_per_second(ready[precision], bare, batch, job.device, precision)
            beside = published_rate(name, batch) if precision == "bfloat16" else ""
            recorded = job.device.type == "cuda" and bool(ready[precision].sample.held)
            yield rate_row(what, rate, beside, "CUDA graph" if recorded else "")
            if precision == "bfloat16" and batch == 1 and recorded:
                eager = ready[precision].sample
                ready[precision].sample = eager.sample
                yield rate_row(what + ", no graph", images_per_second(ready[precision], bare, 1, job.device, precision))
                ready[precision].sample = eager
        except Exception as error:
            if not does_not_fit(error):
                raise
            ready.clear()
            free(job.device)
            yield Row(what, "not run", note="does not fit into the memory of this device")
    if name == "var-d16" and time.monotonic() < until:
        yield from decoder(job, tokenizer)


def decoder(job: Job, tokenizer: VQVAE) -> Iterator[Row]:
    """The published tokenizer's decoder by itself."""
    for precision, batch in (("float32", 8), ("bfloat16", 64), ("bfloat16", 8)):
        f_hat, times = tokenizer.empty(batch), []
        with torch.inference_mode(), autocast(job.device, precision):  # type: ignore[arg-type]
            for _ in range(4):
                start = wait_for(job.device)
                tokenizer.to_image(f_hat)
                times.append(wait_for(job.device) - start)
        yield rate_row(f"decoder at 256 x 256, batch {batch}, {precision}", batch / median(times[1:]))


def compiled(job: Job) -> Iterator[Row]:
    """Blocks compiled by inductor, one graph for each scale, within a CUDA graph: as quick as it gets."""
    try:
        check_compiler(job.device)
    except ValueError as error:
        yield Row("compiled blocks", "not run", note=str(error))
        return
    for name, batch in (("var-d16", 64), ("var-d30", 64), ("var-d24", 64), ("var-d16", 1)):
        what = f"{name}, batch {batch}, bfloat16, compiled"
        if job.left() < 25:
            yield Row(what, "not run", note="too little is left of the budget of this part")
            continue
        torch._dynamo.reset()  # what was compiled for the models before counts against the limit of this one
        try:
            model, tokenizer = random_model(name, job.device)
            model = prepare(model, "bfloat16")
            compile_blocks(model)
            start = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rate = images_per_second(model, twin(tokenizer, NoDecoder), batch, job.device, "bfloat16")
            took = f"{time.monotonic() - start:.0f} s with compiling"
            yield rate_row(what, rate, published_rate(name, batch), took)
        except Exception as error:
            if not does_not_fit(error):
                raise
            yield Row(what, "not run", note="does not fit into the memory of this device")
        model = tokenizer = None  # type: ignore[assignment]
        free(job.device)


def peak(job: Job) -> Iterator[Row]:
    """Peak memory of sampling, counted on tensors without values and measured."""
    if job.device.type != "cuda":
        return
    for name, batch in (("var-d16", 64), (LARGEST, 8)):
        most, _ = counted(name, batch, "bfloat16", decoder=True)
        what = f"peak memory of {name}, batch {batch}, bfloat16, with decoder"
        if most * 1.2 > torch.cuda.mem_get_info(job.device)[0]:
            yield Row(what, "not run", note=f"does not fit: {most / GB:.1f} GB counted")
            continue
        model, tokenizer = random_model(name, job.device)
        ready = prepare(model, "bfloat16")
        free(job.device)
        with autocast(job.device, "bfloat16"):
            generate(ready, tokenizer, [0] * batch, seeds=0)
        found = torch.cuda.max_memory_allocated(job.device)
        near = 0.8 < found / most < 1.3
        yield Row(what, round(found / GB, 2), "GB", f"counted {most / GB:.2f}", near, "within 20 to 30 %")
        del model, ready, tokenizer
        free(job.device)


def memory(job: Job) -> Iterator[Row]:
    """Keys and values of d30, then whole samplings."""
    yield from caches(job)
    yield from peak(job)
