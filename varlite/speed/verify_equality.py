"""Parts of `varlite verify` about what is computed: the published outputs, and the same tokens here as on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from varlite.checkpoints.assemble import twin
from varlite.checkpoints.empty import random_model
from varlite.checkpoints.load import load
from varlite.drawing import DRAW, Step, random_words
from varlite.inference import autocast, prepare
from varlite.io.places import CHECKPOINTS
from varlite.sampling import generate
from varlite.speed.mvar_state import open_gates
from varlite.speed.verify_golden import cases, compare
from varlite.speed.verify_parts import Job, Row
from varlite.tokenizer import VQVAE

CPU = torch.device("cpu")
HALF_ERROR = 0.02  # of the logits in bfloat16, in their standard deviations; on a CPU it is 0.004 to 0.005
ROUNDING = 1e-3  # by which logits may differ between devices in float32, given the same tokens before
PIXEL = 1e-3  # by which pictures of the same tokens may differ
MODELS = ("fashion-var-d4", "fashion-mvar-d4", "fashion-raster-d4")  # that ship, with their tokenizers
LARGE = "var-d16"  # on random weights


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products and convolutions of float32 in float32: by default cuDNN takes TF32, which has 10 bits."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def parity(job: Job) -> Iterator[Row]:
    """The published implementations' outputs: float32 on this device, then bfloat16 with its own tolerance."""
    paths = cases()
    if not paths:
        yield Row("golden cases", "not run", note="they are in tests/golden of a checkout, not in an installed package")
    for precision in ("float32", "bfloat16"):
        for path in paths if precision == "float32" or not job.small else paths[:1]:
            what = f"{path.stem}, {precision}"
            if job.left() < 0:
                yield Row(what, "not run", note="the budget of this part is used up")
                continue
            with exact_float32():
                found = compare(path, job.device, precision)
            if precision == "float32":
                note = f"{found.exact} of {found.tensors} tensors bit by bit; {found.worst} off by {found.share:.0%} of"
                passed = found.equal == found.tokens and found.share <= 1
                yield Row(what, f"{found.equal}/{found.tokens}", "tokens equal", "all", passed, f"{note} what it may")
            else:
                note = f"{found.equal} of {found.tokens} tokens of the encoder equal"
                passed = found.logits <= HALF_ERROR
                yield Row(what, round(found.logits, 5), "error of logits / std", f"at most {HALF_ERROR}", passed, note)


@dataclass
class Sampled:
    """Tokens of a batch, and what they were drawn from."""

    idx: list[torch.Tensor] = field(default_factory=list)  # of every step, (B, l)
    logits: list[torch.Tensor] = field(default_factory=list)  # before the filters, (B, l, V)


def sampled(model: Any, tokenizer: VQVAE, labels: list[int], seeds: list[int], precision: str = "float32") -> Sampled:
    """A batch with its logits, which are looked at by a hook."""
    found = Sampled()

    def on_logits(step: Step) -> None:
        found.logits.append(step.logits_BlV.float().cpu())

    def on_scale(step: Step) -> None:
        found.idx.append(step.idx_Bl[:, -found.logits[-1].shape[1] :].cpu())

    with exact_float32(), autocast(next(model.parameters()).device, precision):  # type: ignore[arg-type]
        generate(model, tokenizer, labels, seeds=seeds, top_p=0, on_logits=on_logits, on_scale=on_scale)
    return found


def joined(ones: list[Sampled]) -> Sampled:
    """Several batches as one."""
    idx, logits = zip(*(one.idx for one in ones), strict=True), zip(*(one.logits for one in ones), strict=True)
    return Sampled([torch.cat(parts) for parts in idx], [torch.cat(parts) for parts in logits])


def same_tokens(job: Job) -> Iterator[Row]:
    """The same seeds give the same tokens on this device as on a CPU; on a CPU, one by one as in a batch."""
    n = 8 if job.small else 64
    for name in MODELS[:2] if job.small else (*MODELS, LARGE):
        where = "one by one" if job.device == CPU else f"on the CPU and on {job.device.type}"
        if job.left() < 0 or (name != LARGE and not (CHECKPOINTS / name).is_dir()):
            reason = "the budget of this part is used up" if job.left() < 0 else "its weights are not here"
            yield Row(f"{name}, {where}", "not run", note=reason)
            continue
        torch.manual_seed(0)
        model, tokenizer = random_model(name) if name == LARGE else load(name)  # type: Any, VQVAE
        model = open_gates(model) if name == LARGE else model
        count = 2 if name == LARGE else n
        labels, seeds = [i % model.config.classes for i in range(count)], list(range(count))
        if job.device == CPU:
            ready = prepare(twin(model))
            here = sampled(ready, tokenizer, labels, seeds)
            ones = [sampled(ready, tokenizer, [label], [seed]) for label, seed in zip(labels, seeds, strict=True)]
            yield compared(f"{name}, in a batch and {where}", here, joined(ones), seeds)
            continue
        here = sampled(model, tokenizer, labels, seeds)
        model, tokenizer = model.to(job.device), tokenizer.to(job.device)
        yield compared(f"{name}, float32, {where}", here, sampled(model, tokenizer, labels, seeds), seeds)
        if name == MODELS[0]:
            half = sampled(model, tokenizer, labels, seeds, "bfloat16")
            share = share_of_equal(here, half)
            yield Row(f"{name}, bfloat16, {where}", f"{share:.2%}", "of tokens equal", "", None, "rounding to 8 bits")
            yield replayed(f"{name}, recorded as a graph and not", model, tokenizer, labels, seeds)


def replayed(what: str, model: Any, tokenizer: VQVAE, labels: list[int], seeds: list[int]) -> Row:
    """Whether a model that is made ready draws what it drew before: as itself, recorded, and replayed for others. On a
    GPU it must have been recorded."""
    others = [seed + len(seeds) for seed in seeds]
    turns = [seeds, others, seeds, others]
    plain = [generate(model, tokenizer, labels, seeds=turn) for turn in turns[:2]]
    ready = prepare(twin(model))
    found = [generate(ready, tokenizer, labels, seeds=turn) for turn in turns]
    off = max((a - b).abs().max().item() for a, b in zip(2 * plain, found, strict=True))
    recorded = bool(getattr(ready.sample, "held", ()))
    note = "replayed" if recorded else "no graph was recorded"
    passed = off <= PIXEL and (recorded or not next(model.parameters()).is_cuda)
    return Row(what, float(f"{off:.2g}"), "off at most, in a pixel", "at most 0.001", passed, note)


def share_of_equal(a: Sampled, b: Sampled) -> float:
    return (torch.cat(a.idx, 1) == torch.cat(b.idx, 1)).float().mean().item()


def compared(what: str, a: Sampled, b: Sampled, seeds: list[int]) -> Row:
    """The share of equal tokens and, where an image differs, why it does first.

    Up to there both had the same tokens, so that logits differ by rounding alone; the draw lies as near to the border
    between two codes. Passed, if it is so for every image.
    """
    share, seed_B, off, firsts = share_of_equal(a, b), torch.tensor(seeds), 0.0, []
    alive_B = torch.ones(len(seeds), dtype=torch.bool)
    for k, (x, y) in enumerate(zip(a.logits, b.logits, strict=True)):
        off_B = (x - y).abs().amax((1, 2))
        off = max(off, float(off_B[alive_B].max()) if alive_B.any() else 0.0)
        differs_Bl = a.idx[k] != b.idx[k]
        for i in (alive_B & differs_Bl.any(1)).nonzero()[:, 0].tolist():
            place = int(differs_Bl[i].nonzero()[0, 0])
            firsts.append(border(x[i, place], seed_B[i : i + 1], k, place, x.shape[1]))
        alive_B &= ~differs_Bl.any(1)
    note = f"logits differ by {off:.1g} at most before tokens do"
    if firsts:
        note += f"; {len(firsts)} of {len(seeds)} images part, their draws within {max(firsts):.1g} of a border"
    return Row(what, f"{share:.2%}", "of tokens equal", "all but draws at a border", off <= ROUNDING, note)


def border(logits_V: torch.Tensor, seed_1: torch.Tensor, step: int, place: int, length: int) -> float:
    """How far, in probability, the random number of a draw lies from the nearest border between two codes."""
    share = (random_words(seed_1, DRAW, step, [length])[0, place] >> 8).double() / 2**24
    return (logits_V.double().softmax(-1).cumsum(-1) - share).abs().min().item()
