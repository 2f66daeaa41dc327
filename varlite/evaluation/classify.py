"""A model of tokens is a classifier, without training: argmax over classes c of log p(tokens | c).

    log p(tokens | c) = sum over tokens of log p(token | c, tokens of earlier steps)     what `log_likelihood` gives
    p(c | tokens)     = p(tokens | c) / sum over classes of the same                     all classes equally likely

After A-VARC (arXiv 2510.12060), without its smoothing and pruning: every class is scored to the last token, so that it
can be asked what each scale contributes. Works for any kind of model with the ability "likelihood".
"""

import math
import time
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from varlite.checkpoints.load import load, weights_file
from varlite.datasets import Dataset, open_dataset
from varlite.datasets.pixels import to_float
from varlite.evaluation.metrics import matched_rows, rounded
from varlite.evaluation.request import Request
from varlite.inference import autocast, prepare
from varlite.io.files import sha256
from varlite.io.provenance import command, machine, versions
from varlite.models import Model, require
from varlite.sampling import device_of, without_drop_path
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, fingerprint

NUM = 1000  # images, unless told otherwise
LOGITS = 2**24  # computed at a time: 64 MB


# Scores of images


@torch.inference_mode()
def log_likelihoods(model: Model, tokenizer: VQVAE, images_NCHW: torch.Tensor, batch: int = 64) -> torch.Tensor:
    """log p(token | class, tokens of earlier steps) in nats, (N, classes, L) on the CPU, of bytes (N, channels, H, W).

    All classes of an image go through the model in one batch, with inputs computed once; `batch` images at a time, or
    as many as LOGITS allows. Raises ValueError for a model whose scores are no likelihoods.
    """
    require(model, "likelihood")
    device, c, L = device_of(model), model.config.classes, tokenizer.scales.total
    at_a_time = max(1, LOGITS // (L * model.config.vocab))
    label_C, parts = torch.arange(c, device=device), []
    for img in images_NCHW.split(max(1, min(batch, at_a_time // c))):
        idx = tokenizer.encode(to_float(img.to(device)))
        with without_drop_path(model):
            some = [
                model.log_likelihood(tokenizer, idx, of.expand(len(img), -1))
                for of in label_C.split(max(1, at_a_time // len(img)))
            ]
        parts.append(torch.cat(some, 1).float().cpu())
    return torch.cat(parts)


def over_steps(log_p_NCL: torch.Tensor, spans: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """log p of all tokens up to and including each step, (N, classes, steps): a scale, or of a raster a token."""
    return torch.stack([log_p_NCL[..., start:end].double().sum(-1) for start, end in spans], -1).cumsum(-1)


def of_label(x_NCX: torch.Tensor, label_N: torch.Tensor) -> torch.Tensor:
    """The rows (N, ...) of each image's own class."""
    return x_NCX[torch.arange(len(label_N)), label_N]


# Accuracy


def wilson_interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of `hits` in `n` independent trials (Wilson 1927, JASA 22); within [0, 1]."""
    share, spread = hits / n, z * z / n
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def confusion(predicted_N: torch.Tensor, label_N: torch.Tensor, classes: int) -> torch.Tensor:
    """(classes, classes) counts: a row for each true class, a column for each predicted one."""
    return torch.bincount(label_N * classes + predicted_N, minlength=classes**2).view(classes, classes)


# Information


def calibrate(log_p_XC: torch.Tensor, label_X: torch.Tensor, log_prior_XC: torch.Tensor | float = 0.0) -> float:
    """The exponent t in [0, 4] of p(c | x) ~ prior(c) p(x | c)^t that makes the labels likeliest.

    Below 1 the model is too sure: errors of many tokens add up as if they were evidence. The loss is convex in t.
    """
    low, high = 0.0, 4.0
    for _ in range(20):
        t = (low + high) / 2
        posterior_XC = (log_prior_XC + t * log_p_XC).softmax(1)
        slope = (posterior_XC * log_p_XC).sum(1).mean() - of_label(log_p_XC, label_X).mean()
        low, high = (low, t) if slope > 0 else (t, high)
    return (low + high) / 2


# Exponents are fitted on the other half of the images, so that fitting costs no optimism.
HALVES = ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2)))


def information(log_p_NCK: torch.Tensor, label_N: torch.Tensor, calibrated: bool = True) -> list[float]:
    """Bits that the tokens up to each step tell about the class: log2(classes) less the posterior's cross-entropy.

    I(class; tokens) = H(class) - H(class | tokens) >= log2(classes) + E log2 q(label | tokens)      for any posterior q
    (Barber and Agakov 2003). The gap is E KL(p || q), so this is biased low; the mean over images is an unbiased
    estimate of the bound. q is the model's posterior with an exponent for each step (`calibrate`), fitted on the other
    half of the images. `calibrated=False` takes the posterior as it is: a scale that is sure and wrong then takes away
    from what the coarser ones tell.
    """
    gained = []
    for log_p_NC in log_p_NCK.unbind(-1):
        parts = []
        for mine, other in HALVES:
            t = calibrate(log_p_NC[other], label_N[other]) if calibrated else 1.0
            parts.append(of_label((t * log_p_NC[mine]).log_softmax(1), label_N[mine]))
        gained.append((math.log(log_p_NCK.shape[1]) + torch.cat(parts).mean().item()) / math.log(2))
    return gained


def token_information(
    log_p_NCL: torch.Tensor, spans: tuple[tuple[int, int], ...], label_N: torch.Tensor
) -> list[torch.Tensor]:
    """Bits (l,) that each token of a step, alone, adds to what the earlier steps tell about the class, by step.

    The mean over images of log2 p(token | label)^t / sum over c of q(c) p(token | c)^t, A-VARC's pointwise mutual
    information, where q is the calibrated posterior after the earlier steps and t an exponent for each step, both
    fitted on the other half of the images. It estimates I(class; token | earlier steps) as the difference of two lower
    bounds, and may be off either way. Tokens of one scale tell much the same: together they tell less than their sum.
    """
    (N, C, _), before, found = log_p_NCL.shape, over_steps(log_p_NCL, spans), []
    for k, (start, end) in enumerate(spans):
        l, parts = end - start, []
        log_p_XC = log_p_NCL[..., start:end].double().transpose(1, 2).flatten(0, 1)
        rows, label_X = torch.arange(N * l).view(N, l), label_N.repeat_interleave(l)
        for mine, other in HALVES:
            so_far_NC = before[..., k - 1] if k else torch.zeros(N, C, dtype=torch.float64)
            sure = calibrate(so_far_NC[other], label_N[other]) if k else 1.0
            prior_XC = (sure * so_far_NC).log_softmax(1).repeat_interleave(l, 0)
            i, j = rows[mine].flatten(), rows[other].flatten()
            t = calibrate(log_p_XC[j], label_X[j], prior_XC[j])
            posterior_XC = (prior_XC[i] + t * log_p_XC[i]).log_softmax(1)
            parts.append((of_label(posterior_XC, label_X[i]) - of_label(prior_XC[i], label_X[i])).view(-1, l))
        found.append(torch.cat(parts).mean(0) / math.log(2))
    return found


# Where in the image


class Evidence(NamedTuple):
    """What speaks for the class found, against the second likeliest."""

    found_N: torch.Tensor
    runner_up_N: torch.Tensor
    odds_NL: torch.Tensor  # log p(token | found) / p(token | runner-up) in nats; their sum is the log-odds of the two


def evidence(log_p_NCL: torch.Tensor) -> Evidence:
    """The log-odds of every token between the two likeliest classes."""
    found_N, runner_up_N = log_p_NCL.double().sum(-1).topk(2, 1).indices.unbind(1)
    return Evidence(found_N, runner_up_N, of_label(log_p_NCL, found_N) - of_label(log_p_NCL, runner_up_N))


def evidence_map(odds_NL: torch.Tensor, scales: Scales, first: int = 0) -> torch.Tensor:
    """(N, h, w) log-odds on the finest map, of the scales from number `first` on.

    A token of a coarser scale is spread evenly over its part of the picture, so that the sum stays the same.
    """
    H, W = scales.last
    total = odds_NL.new_zeros(len(odds_NL), H, W)
    for odds_Nl, (h, w) in list(zip(scales.split(odds_NL), scales.shapes, strict=True))[first:]:
        fine = odds_Nl.view(-1, h, w).repeat_interleave(H, 1).repeat_interleave(W, 2)  # cells that both maps divide
        total = total + F.adaptive_avg_pool2d(fine, (H, W)) * (h * w) / (H * W)
    return total


# varlite evaluate --metrics classify


def first_of_test_split(
    data: str, num: int | None, model: Model, tokenizer: VQVAE
) -> tuple[Dataset, torch.Tensor, torch.Tensor]:
    """(dataset, bytes (N, channels, H, W), labels (N,)): the first images of a test split, by default NUM of them; of
    data that are sorted by class, as folders are, the first of each class.

    Raises ValueError for other classes than the model's, and for more images than there are.
    """
    dataset = open_dataset(data, "test", tokenizer.image_size(), tokenizer.config.channels)
    names, classes = getattr(model, "class_names", None), model.config.classes
    if len(dataset.classes) != classes or (names and list(names) != list(dataset.classes)):
        ours = f" ({', '.join(names[:3])}, ...)" if names else ""
        theirs = f"{len(dataset.classes)} classes ({', '.join(dataset.classes[:3])}, ...)"
        raise ValueError(f"data: {data} has {theirs}, and the model was trained on {classes}{ours}")
    there = len(dataset.labels)
    if num is not None and num > there:
        raise ValueError(f"num: {data} has {there} test images, got {num}")
    rows = torch.arange(min(num or NUM, there))
    if (dataset.labels.diff() >= 0).all():
        rows = matched_rows(dataset.labels, rows % classes)
    images = dataset.images(rows)
    return dataset, images, dataset.labels[rows]  # labels last: of an unreadable picture the next one's is taken


def classify(request: Request, data: str = "fashion", device: str | torch.device = "cpu") -> dict[str, Any]:
    """Classify test images of `data` by the likelihoods of a model; a record as `evaluate` gives.

    Of `request`, model, weights, dials, num, batch and precision count. Scores: accuracy with a 95 % interval, accuracy
    and information with the first steps alone, information of single tokens, confusion, seconds an image.
    Raises ValueError for a model that gives no likelihood, for other metrics beside, and as `first_of_test_split` does.
    """
    if request.metrics != ("classify",) or request.images is not None or request.samples is not None:
        raise ValueError("metrics: classify is of a model and of test images, not of samples: ask for it alone")
    model, tokenizer = load(request.model, request.weights, device=device, dials=request.dials)
    require(model, "likelihood", request.model)
    prepare(model, request.precision)
    dataset, images, label_N = first_of_test_split(data, request.num, model, tokenizer)
    spans, start = model.spans(model.scales), time.perf_counter()
    with autocast(device_of(model), request.precision):
        log_p_NCL = log_likelihoods(model, tokenizer, images, request.batch)
    seconds = (time.perf_counter() - start) / len(images)
    log_p_NCK = over_steps(log_p_NCL, spans)
    right_NK = log_p_NCK.argmax(1) == label_N[:, None]
    bits = token_information(log_p_NCL, spans, label_N)
    scores = {
        "accuracy": right_NK[:, -1].double().mean().item(),
        "accuracy_interval": [round(x, 4) for x in wilson_interval(int(right_NK[:, -1].sum()), len(images))],
        "accuracy_by_step": [round(x, 4) for x in right_NK.double().mean(0).tolist()],
        "bits_by_step": [round(x, 3) for x in information(log_p_NCK, label_N)],
        "bits_by_step_uncalibrated": [round(x, 3) for x in information(log_p_NCK, label_N, calibrated=False)],
        "bits_per_token_by_step": [float(f"{bits_l.mean().item():.3g}") for bits_l in bits],
        "confusion": confusion(log_p_NCK[..., -1].argmax(1), label_N, model.config.classes).tolist(),
        "seconds_per_image": seconds,
    }
    given = {"num": len(images), "data": data}
    others: dict[str, Any] = {"weights": request.weights} if request.weights else {}
    others |= {"precision": request.precision} if request.precision != "float32" else {}
    return {
        "model": request.model,
        "num": len(images),
        "settings": given,
        "weights_sha256": sha256(weights_file(request.model, request.weights)),
        "tokenizer_sha256": fingerprint(tokenizer),
        "data_sha256": dataset.checksum,
        "classes": list(dataset.classes),
        "scores": rounded(scores),
        "versions": versions(),
        "machine": machine(),
        "command": command("evaluate", model=request.model, metrics=("classify",), **given, **others),
    }


def report(result: dict[str, Any], most: int = 8) -> None:
    """Print accuracy, what the first steps alone give, and the most frequent mistakes."""
    scores, names = result["scores"], result["classes"]
    low, high = scores["accuracy_interval"]
    print(f"accuracy {scores['accuracy']:.1%} ({low:.1%} .. {high:.1%}) of {result['num']} test images, "
          f"{scores['seconds_per_image']:.3f} s an image")  # fmt: skip
    steps = len(scores["accuracy_by_step"])
    print(f"with the first of {steps} steps alone:   accuracy   bits about the class   bits of one more token")
    for k in sorted({round(i * (steps - 1) / (most - 1)) for i in range(most)}):
        values = (scores[name][k] for name in ("accuracy_by_step", "bits_by_step", "bits_per_token_by_step"))
        print(f"{k + 1:28d} {'{:16.1%} {:22.2f} {:24.3g}'.format(*values)}")
    counts = torch.tensor(scores["confusion"])
    for i, n in enumerate(counts.sum(1).tolist()):
        wrong = counts[i].clone()
        wrong[i] = 0
        if wrong.any():
            j = int(wrong.argmax())
            print(f"{names[i]:20s} {counts[i, i]} of {n} right, {wrong[j]} taken for {names[j]}")
