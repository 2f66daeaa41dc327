"""Scores of still life by the judge from truth (judges/truth.py), as they stand on the cards of models."""

import sys
from typing import Any

import torch

from varlite.checkpoints.load import load_tokenizer
from varlite.datasets.pixels import to_bytes
from varlite.datasets.rendering import render
from varlite.datasets.scenes import SIDE, sample
from varlite.datasets.still_life import StillLife
from varlite.evaluation.judges.truth import (
    HELD_OUT_SEED,
    coherence_limit,
    held_out_indices,
    judge_samples,
    shares_read,
)
from varlite.evaluation.reader import NAME, Reader, load_reader, read
from varlite.evaluation.request import Request
from varlite.evaluation.samples import Samples
from varlite.evaluation.small_models import reconstruct
from varlite.io.places import CHECKPOINTS
from varlite.tokenizer import VQVAE

SCENES = 1000  # of the test split that readings and reconstructions are measured on


def reader_fits(tokenizer: VQVAE) -> bool:
    """Whether the judge can be asked; says so where its weights are not there, or it does not read such pictures."""
    channels, size = tokenizer.config.channels, tokenizer.image_size()
    if (channels, *size) != (3, SIDE, SIDE):
        why = f"{NAME} reads RGB of {SIDE} x {SIDE}, and these pictures are {channels} x {size[0]} x {size[1]}"
    elif not (CHECKPOINTS / NAME / "model.safetensors").exists():
        why = f"{NAME} is not there (varlite train-reader)"
    else:
        return True
    print(f"note: nothing is said of what the pictures show: {why}", file=sys.stderr)
    return False


def score_reader(reader: Reader, num: int = 2 * SCENES) -> dict[str, float]:
    """Shares of the test scenes of which each factor is read rightly, and of scenes with held-out combinations.

    `coloured_material` leaves out white main objects, on which a glossy highlight can hardly be seen.
    """
    test = StillLife("test")
    rows = torch.arange(num)
    scenes, readings = [test.factors(i) for i in rows.tolist()], read(reader, test.images(rows))
    found = shares_read(scenes, readings)
    coloured = [pair for pair in zip(scenes, readings, strict=True) if pair[0].things[0].hue != "white"]
    found["coloured_material"] = shares_read(*zip(*coloured, strict=True))["material"]
    # The training has seen those of HELD_OUT_SEED.
    rare = [sample(HELD_OUT_SEED + 1, i, ()) for i in held_out_indices(HELD_OUT_SEED + 1, num // 10)]
    of_rare = shares_read(rare, read(reader, to_bytes(render(rare))))
    return found | {f"held_out_{name}": of_rare[name] for name in ("kind", "hue")}


def score_by_truth(name: str, kind: str | None, request: Request, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Of a tokenizer: what is read rightly of its reconstructions. Of a transformer: what its samples show.

    A sample is held against what real scenes reach that went through the same tokenizer; `coherent_as_rendered` is the
    share that would pass for scenes as they were rendered. Where the tokenizer's own reconstructions cannot be read,
    that share alone says what is coherent.
    """
    reader, test, rows = load_reader(), StillLife("test"), torch.arange(SCENES)
    real = test.images(rows)
    if kind == "tokenizer":
        again = reconstruct(load_tokenizer(name, device=device), real)
        limit = coherence_limit(reader, real)
        found = shares_read([test.factors(i) for i in rows.tolist()], read(reader, again))
        judged = judge_samples(reader, again, test.labels[rows], limit)
        return {f"read_{factor}": share for factor, share in found.items()} | {"coherent": judged["coherent"]}
    samples = Samples(name, request.weights, request.num, request.seed, request.settings, request.precision,
                      torch.device(device), request.dials)  # fmt: skip
    n = len(samples)
    images = torch.cat([samples.batch(slice(i, min(i + request.batch, n))) for i in range(0, n, request.batch)])
    strict = judge_samples(reader, images, samples.labels, coherence_limit(reader, real))
    as_rendered = {"coherent_as_rendered": strict["coherent"]}
    again = reconstruct(samples.tokenizer, real)
    try:
        limit = coherence_limit(reader, again)
    except ValueError:
        print("note: too few reconstructions can be read to say which samples are as good as these", file=sys.stderr)
        return {name: strict[name] for name in ("shows_class", "agrees", "variety")} | as_rendered
    return judge_samples(reader, images, samples.labels, limit) | as_rendered
