"""The exercises of notebook 01, raster order against next scale."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from varlite.checkpoints.load import load, shipped
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_bytes, to_float
from varlite.drawing import Step
from varlite.evaluation.classifier import accuracy, load_classifier
from varlite.models import Model
from varlite.nb.exercises import Off, function, kind, number
from varlite.nb.plots import scale_names
from varlite.presets import SCALES_512
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

SOME, ASKED = 4, 60  # test pictures whose tokens are compared, and that a judge is asked about


@cache
def loaded(name: str) -> tuple[Model, VQVAE]:
    return load(name)


@cache
def encoded(name: str, n: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Token maps and labels of the first test images."""
    test = FashionMNIST("test")
    with torch.inference_mode():
        return loaded(name)[1].encode(to_float(test.all_images[:n])), test.labels[:n]


def pairs(scales: Scales) -> int:
    """Pairs of query and key that sampling with a cache computes."""
    return sum((end - start) * end for start, end in scales.spans)


def exercise_1(times_as_many: Any) -> str:
    """Pairs of next scale over those of raster order, at 512 x 512."""
    scales, L = Scales.of(SCALES_512), Scales.of(SCALES_512).lengths[-1]
    raster = L * (L + 1) / 2
    slips = {
        raster / pairs(scales): "That is raster order's pairs over next scale's.",
        L / scales.K: "That compares steps. Pairs are counted for each token over all tokens that it sees.",
        scales.total / L: "That compares tokens. Each token sees others.",
        pairs(scales): "That is next scale's pairs. Divide by raster order's.",
        pairs(scales) / L**2: "That is over all cells of raster order's matrix; its triangle has half of them.",
        sum(end**2 for _, end in scales.spans)
        / raster: "That is without a cache, where each step begins from nothing.",
    }
    number(times_as_many, pairs(scales) / raster, 0.02 * pairs(scales) / raster, slips)
    return f"And {L} steps have become {scales.K}."


def exercise_2(power: Any) -> str:
    """With what power of n the pairs grow if no side is left out."""
    slips: dict[float, str] = {
        4: "That is with sides that double. Here there are n maps instead of log n.",
        3: "That is how the number of tokens grows. Each of them sees many others.",
        5: "How many tokens are there together, and how many does each of them see?",
    }
    n = 64
    measured = math.log2(pairs(Scales.of(range(1, 2 * n + 1))) / pairs(Scales.of(range(1, n + 1))))
    number(power, 6, 0.25, slips)
    return f"Between n = {n} and {2 * n} it is {measured:.2f}. So what saves pairs is to leave sides out."


def exercise_3(mended: Any) -> str:
    """The logits of a raster model, from tokens before each."""
    model, tokenizer = loaded("fashion-raster-d4")
    (idx_Bl,), label_B = encoded("fashion-raster-d4", SOME)
    attempt = function(mended)
    with torch.inference_mode():
        right_BlV = model(model.inputs(tokenizer, [idx_Bl]), label_B)
        found_BlV = attempt(idx_Bl, label_B)
    if not isinstance(found_BlV, torch.Tensor) or found_BlV.shape != right_BlV.shape:
        raise Off(f"This should be a tensor of shape {tuple(right_BlV.shape)}, and is {kind(found_BlV)}.")
    off_l = (found_BlV - right_BlV).abs().amax((0, 2)) > 1e-3
    if not off_l.any():
        return "All places agree with the package's, and none sees what it has to predict."
    l, last = len(off_l), len(off_l) - 1
    other_Bl = idx_Bl.clone()
    other_Bl[:, last] = (other_Bl[:, last] + 1) % model.config.vocab
    with torch.inference_mode():
        leaks = not torch.allclose(attempt(other_Bl, label_B), found_BlV, atol=1e-4)
    said = f"{l - int(off_l.sum())} of {l} places agree with the package's."
    if leaks:
        said += f" And there is a leak: change token {l}, the last, and predictions change, though none comes after it."
    raise Off(said)


@torch.inference_mode()
def exercise_4(put_back: Any) -> str:
    """A hook that puts real tokens in the place of the first drawn ones."""
    model, tokenizer = loaded("fashion-var-d4")
    real, _ = encoded("fashion-var-d4", SOME)
    for k in (2, 0, model.scales.K):
        drawn: list[Step] = []
        vectors = [tokenizer.embed(idx_Bl) for idx_Bl in real]
        run(hooked(put_back, real, k, drawn), SOME)
        for j, (step, name) in enumerate(zip(drawn, scale_names(model.scales), strict=True)):
            should = vectors[j] if j < k else tokenizer.embed(step.idx_Bl)
            if step.h_BlZ.shape != should.shape:
                raise Off(
                    f"At {name} the vectors have the shape {tuple(step.h_BlZ.shape)} instead of {tuple(should.shape)}."
                )
            if not torch.allclose(step.h_BlZ, should, atol=1e-5):
                what = "are not those of the real tokens" if j < k else "are no longer those that were drawn"
                raise Off(f"With k = {k} the vectors passed on at {name} {what}.")
    told = ", ".join(f"{recognised(k):.0%} with {k}" for k in (0, 1, 2, 3))
    return f"Of {ASKED} pictures, one judge recognises {told} real maps."


def hooked(put_back: Any, real: list[torch.Tensor], k: int, drawn: list[Step]) -> Callable[[Step], None]:
    """The attempt's hook, after which each step is kept."""
    hook = function(put_back)([idx_Bl.clone() for idx_Bl in real], k)
    if not callable(hook):
        raise Off(f"`put_back` should return a function, the hook, and returns {kind(hook)}.")

    def keep(step: Step) -> None:
        try:
            hook(step)
        except Exception as error:
            raise Off(f"The hook raised {type(error).__name__}: {error}") from error
        drawn.append(step)

    return keep


def run(hook: Callable[[Step], None], n: int) -> torch.Tensor:
    """n pictures without a class."""
    model, tokenizer = loaded("fashion-var-d4")
    return generate(model, tokenizer, [model.config.classes] * n, on_scale=hook, seeds=0)


@cache
def recognised(k: int) -> float:
    """The share of pictures that a judge takes for what they were, if their first k maps are real."""
    _, tokenizer = loaded("fashion-var-d4")
    real, label_B = encoded("fashion-var-d4", ASKED)

    def hook(step: Step) -> None:
        if step.k < k:
            step.h_BlZ = tokenizer.embed(real[step.k])

    return accuracy(load_classifier(shipped("fashion-classifier")), to_bytes(run(hook, ASKED)), label_B)
