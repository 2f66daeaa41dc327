"""`varlite evaluate`: scores of a model's samples, or of given images."""

from pathlib import Path
from typing import Literal

from varlite.commands.common import ModelOptions, SamplingOptions, check_counts, pick_device

Metric = Literal[
    "fid",
    "sfid",
    "is",
    "kid",
    "precision",
    "recall",
    "accuracy",
    "fd",
    "recall_within_class",
    "fd_ratio",
    "kd",
    "classify",
    "panel",
]


def evaluate(
    images: str | None = None,
    reference: str = "fashion",
    features: Literal["fashion", "inception"] | None = None,
    metrics: tuple[Metric, ...] = (),
    num: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    samples: Path | None = None,
    inception: Path | None = None,
    batch: int = 64,
    card: bool = False,
    data: str | None = None,
    ssg: float = 0.0,
    against: tuple[Path, ...] = (),
    model: ModelOptions = ModelOptions(),
    sampling: SamplingOptions = SamplingOptions(),
) -> None:
    """Score samples of a model, or given images, against a reference: FID and its relatives.

    With Inception's features fid, sfid, is, precision, recall and kid; at small scale, with those of
    fashion-classifier, accuracy, fd (the Fréchet distance, which is not FID), precision and recall. Samples of
    Fashion-MNIST also go before the panel: judges of many kinds, each with its interval and with what real pictures
    get, and a summary of how far the samples are from real pictures. Memory is the same for any number of images.
    Killed, the same command goes on; torchrun --nproc-per-node 8 -m -- varlite evaluate ... spreads it over GPUs. Of a
    tokenizer: error, codebook health and scores of its reconstructions.

    Args:
        images: instead of a model, what is to be scored: a folder of images, an npz as ADM's evaluator reads it, or
            fashion, fashion-train, cifar10, cifar10-train.
        reference: what it is compared with, any of the same; an npz may hold statistics, as ADM's reference batches do.
            Its features are kept in VARLITE_CACHE.
        features: inception, or fashion, the default with the reference fashion.
        metrics: which of them; default all that can be had. classify, alone: how well the model classifies test images
            of --data by their likelihood under each class, and what each scale tells about the class.
        num: class-balanced samples, equally many of each class; default about 2000; the papers take 50000. For
            classify, test images; default 1000.
        seed: random seed.
        out: write the scores, and all that is needed to repeat them, to this JSON file.
        samples: also keep the samples, as PNG files in this folder, or shuffled in a file that ends in .npz, for ADM's
            evaluator.
        inception: a file with Inception's weights, where they cannot be fetched.
        batch: images made and scored at a time.
        card: write the scores into the card.json beside the model.
        data: of a tokenizer, for classify, and for loss and token error of a transformer: what it is scored on:
            fashion, still-life, cifar10, a folder of images, or whatever else a training takes; default what its card
            says it was trained on.
        ssg: strength of scaled spatial guidance, which moves logits away from those of the scale before; 0 is none.
        against: JSON files of other evaluations, of equally many images: which set is nearest to real pictures.
    """
    from varlite.evaluation.model_cards import evaluate_any
    from varlite.evaluation.request import Request
    from varlite.io.outputs import check_file, check_folder
    from varlite.io.places import cache_folder

    check_counts(num=num, batch=batch)
    model.check()
    check_folder("VARLITE_CACHE", cache_folder())
    if out is not None:
        check_file("out", out)
    if samples is not None and samples.suffix == ".npz":
        check_file("samples", samples)
    elif samples is not None:
        check_folder("samples", samples)
    request = Request(
        model.model, images, reference, features, metrics, num, seed, **vars(sampling), samples=samples,
        inception=inception, weights=model.weights, batch=batch, precision=model.precision, ssg=ssg, against=against,
        dials=model.dials,
    )  # fmt: skip
    evaluate_any(request, out, card, data, pick_device(model.device))
