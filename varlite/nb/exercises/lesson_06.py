"""The exercises of notebook 06, sampling."""

from functools import cache
from typing import Any

import torch

from varlite.checkpoints.load import load
from varlite.datasets.pixels import to_bytes, to_float
from varlite.drawing import draw, guide, image_seeds, keep_top
from varlite.evaluation.small_models import Scorer
from varlite.models import Model
from varlite.nb.exercises import Off, function, kind, number
from varlite.nb.plots import scale_names
from varlite.tokenizer import VQVAE

N = 150  # pictures whose tokens are shuffled, as in the lesson
CODES = (0.4, 0.2, 0.15, 0.1, 0.08, 0.07)


@cache
def shipped() -> tuple[Model, VQVAE]:
    return load("fashion-var-d4")


def exercise_1(guided: Any) -> str:
    """The probability of a code with guidance."""
    p, q, t = torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5]), 2

    def first(strength: float) -> float:
        return guide(p.log(), q.log(), strength).softmax(0)[0].item()

    slips = {
        (p * (p / q) ** t)[0].item(): "The two results have to be brought to a sum of one.",
        first(t - 1): "That is the other convention: there, strength 1 means no guidance.",
        p[0].item(): "That is without guidance.",
        ((1 + t) * p - t * q)[
            0
        ].item(): "That is the formula on probabilities. It is made for logits, their logarithms.",
    }
    number(guided, first(t), 0.01, slips)
    return (
        "Its odds against the other code grow from 1.5 to 3.4, and it was ahead anyway: guidance makes the sure surer."
    )


def exercise_2(left_over: Any) -> str:
    """How many codes two filters leave."""
    logits_BlV = torch.tensor(CODES).log()[None, None]
    both, of_all = (keep_top(logits_BlV, k, 0.7).isfinite().sum().item() for k in (3, 0))
    slips = {of_all: "That is how many top-p alone, or top-k alone, keeps. Together they keep another number."}
    number(left_over, both, 0, slips)
    return "In the other order three would be left: what the filters do depends on which comes first."


def exercise_3(nucleus: Any) -> str:
    """The mended top-p filter."""
    call = function(nucleus)
    logits_NV = torch.randn(20, 50, generator=torch.Generator().manual_seed(0)) * torch.linspace(6, 0.5, 20)[:, None]
    for p in (0.1, 0.5, 0.9):
        for logits_V in logits_NV:
            found = call(logits_V.clone(), p)
            if not isinstance(found, torch.Tensor) or found.shape != logits_V.shape:
                raise Off(f"This should return 50 logits for 50, and returns {kind(found)}.")
            mine, right = found.isfinite(), keep_top(logits_V[None, None], 0, p)[0, 0].isfinite()
            if not mine.any():
                raise Off(f"With p = {p} it sometimes leaves no code at all. There is nothing to draw from then.")
            if not mine[logits_V.argmax()]:
                raise Off("It removes the likeliest code and keeps less likely ones.")
            if mine.sum() < right.sum():
                raise Off(f"With p = {p}, the codes that it keeps hold {logits_V.softmax(0)[mine].sum():.2f} together.")
            if not torch.equal(mine, right):
                raise Off(
                    f"With p = {p} it keeps {mine.sum()} codes where fewer hold as much, or others than the likeliest."
                )
            if not torch.equal(found[mine], logits_V[mine]):
                raise Off("The logits of the codes that stay should stay as they are.")
    return "A filter that can leave nothing is found late, since it happens only where the model is sure."


@cache
def hurt() -> list[float]:
    """FD of test pictures whose tokens of one scale are shuffled within the class, for each scale."""
    model, tokenizer = shipped()
    scorer, label_N = Scorer(), torch.arange(N) % 10
    rng, found = torch.Generator().manual_seed(0), []
    with torch.inference_mode():
        idx = tokenizer.encode(to_float(scorer.test.images(scorer.balanced_rows(label_N))))
        for k in range(model.scales.K):
            maps = [idx_Bl.clone() for idx_Bl in idx]
            for c in range(10):
                rows = (label_N == c).nonzero().flatten()
                for i in range(maps[k].shape[1]):
                    maps[k][rows, i] = idx[k][rows[torch.randperm(len(rows), generator=rng)], i]
            found.append(scorer.score(to_bytes((tokenizer.decode(maps) + 1) / 2), label_N)["fd"])
    return found


def exercise_4(hurts_most: Any) -> str:
    """The scale whose shuffling costs most."""
    fd, names = hurt(), scale_names(shipped()[0].scales)
    worst = fd.index(max(fd))
    slips: dict[float, str] = {
        k: f"Shuffling {name} takes FD to {fd[k]:.1f}. Another scale takes it further." for k, name in enumerate(names)
    }
    number(hurts_most, worst, 0, slips)
    return f"FD after shuffling {', '.join(f'{name}: {x:.1f}' for name, x in zip(names, fd, strict=True))}."


@torch.inference_mode()
def guided_away(labels: list[int], others: list[int], cfg: float) -> torch.Tensor:
    model, tokenizer = shipped()
    pair = torch.tensor([*labels, *others])
    f_hat, x, cache_, K = tokenizer.empty(len(labels)), None, model.make_cache(), model.scales.K
    for k in range(K):
        ours_BlV, theirs_BlV = model.step(x, pair, k, cache_).chunk(2)
        idx = draw(guide(ours_BlV, theirs_BlV, cfg * k / (K - 1)), image_seeds(0, pair[: len(labels)]), k)
        f_hat = tokenizer.accumulate(f_hat, tokenizer.embed(idx), k)
        x = tokenizer.next_input(f_hat, k).repeat(2, 1, 1) if k < K - 1 else None
    return (tokenizer.to_image(f_hat) + 1) / 2


def exercise_5(away: Any) -> str:
    """Sampling that is guided away from other classes."""
    labels, others, cfg = [9, 9, 6, 6], [7, 7, 0, 0], 3.0
    right = guided_away(labels, others, cfg)
    with torch.inference_mode():
        found = function(away)(*shipped(), labels, others, cfg)
    if not isinstance(found, torch.Tensor) or found.shape != right.shape:
        raise Off(f"This should return images of shape {tuple(right.shape)}, and returns {kind(found)}.")

    def agrees(other: torch.Tensor) -> bool:
        return torch.allclose(found.float(), other, atol=0.01)

    if agrees(guided_away(labels, [shipped()[0].config.classes] * 4, cfg)):
        raise Off("That is guidance away from the null class, as before.")
    if agrees(guided_away(labels, others, 0)):
        raise Off("That is no guidance at all.")
    if agrees(guided_away(labels, others[:1] * 4, cfg)):
        raise Off("Every image is guided away from the same class. Each has its own.")
    if not agrees(right):
        raise Off(
            f"The pictures differ from those of the package's loop, by {(found - right).abs().max():.2f} at most."
        )
    return "Diffusion models know this as a negative prompt."
