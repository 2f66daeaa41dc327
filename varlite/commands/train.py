"""`varlite train`, `train-tokenizer`, `tune-decoder`, and the trainings of networks that score: the same command again
goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from varlite.commands.common import Data, check_weights
from varlite.training.options import Options


def checked(out: Path, training: Options) -> Path:
    """The folder, if a training can be written to it. Raises an error if not, and for a seed that torch does not take:
    before a model is loaded."""
    from varlite.io.outputs import check_folder

    check_folder("out", out)
    if not -(2**63) <= training.seed < 2**63:
        raise ValueError(f"seed must be a number of 64 bits, got {training.seed}")
    return out


def train_tokenizer(
    preset: str = "fashion-vq",
    data: Data = "fashion",
    out: Path | None = None,
    start: str | None = None,
    training: Options = Options(),
) -> None:
    """Train a tokenizer: stage 1. The same command again goes on after a stop, or says that it is finished.

    OUT holds config.json, log.jsonl, checkpoint.pt, pictures, and at the end model.safetensors and card.json.

    Args:
        preset: the configuration and recipe; see `varlite info`.
        out: folder of this training; default runs/PRESET.
        start: go on from this tokenizer, a preset or folder of the same shape; its schedule of scales may be another.
    """
    from varlite.training import train_tokenizer as stage1

    out = checked(out or Path("runs") / preset, training)
    print(stage1.train_tokenizer(preset, data, out, training, start))


def tune_decoder(
    tokenizer: str = "fashion-vq", data: Data = "fashion", out: Path | None = None, training: Options = Options()
) -> None:
    """Go on training a tokenizer's decoder alone: sharper pictures from the same tokens. The same command resumes.

    Args:
        tokenizer: a preset, or a folder written by `varlite train-tokenizer`.
        out: folder of this training; default runs/TOKENIZER-decoder.
    """
    from varlite.training import tune_decoder as decoder

    out = checked(out or Path("runs") / f"{Path(tokenizer).name}-decoder", training)
    print(decoder.tune_decoder(tokenizer, data, out, training))


def train(
    preset: str = "fashion-var-d4",
    data: Data = "fashion",
    out: Path | None = None,
    tokenizer: str | None = None,
    start: str | None = None,
    weights: Path | None = None,
    views: int | None = None,
    training: Options = Options(),
) -> None:
    """Train a next-scale transformer on the tokens of a dataset: stage 2. The same command again goes on after a stop.

    OUT holds config.json, log.jsonl, checkpoint.pt, pictures, and at the end model.safetensors, its tokenizer and
    card.json. Several GPUs: torchrun --nproc-per-node N -m -- varlite train ...

    Args:
        preset: the configuration and recipe; see `varlite info`.
        out: folder of this training; default runs/PRESET.
        tokenizer: a preset, or a folder written by `varlite train-tokenizer`; default that of START, or the preset's.
        start: go on from this model, a preset or folder of the same shape; for another number of classes its
            class table is new, and for a TOKENIZER with other codes or scales what speaks in codes is fitted first,
            if it is a VAR, an M-VAR or Markov.
        weights: for a published START, a folder or file with the weights.
        views: random cuts of each image, encoded once; 1 is its middle, 0 a new cut at every step, encoded then, as
            the published code does; default the recipe's.
    """
    from varlite.training import train_transformer as stage2

    check_weights("weights", start, weights)
    if views is not None:
        training = replace(training, recipe=(*training.recipe, f"views={views}"))
    out = checked(out or Path("runs") / preset, training)
    print(stage2.train(preset, data, out, tokenizer, start, weights, training))


def train_judge(out: Path = Path("runs/fashion-judge"), training: Options = Options()) -> None:
    """Train fashion-judge, the second classifier of the panel of judges, which no choice of ours ever sees.

    Args:
        out: folder of this training.
    """
    from varlite.training import train_second_classifier as second

    print(second.train_second_classifier(checked(out, training), training))


def train_features(
    out: Path | None = None,
    data: Literal["fashion", "still-life"] = "fashion",
    training: Options = Options(),
) -> None:
    """Train fashion-features or still-features, in whose features the losses of stage 1 compare; they never score.

    Args:
        out: folder of this training; default runs/fashion-features or runs/still-features.
        data: what it sees: clothes in grey, or still life in colour.
    """
    from varlite.training import train_features as features

    out = out or Path("runs") / ("fashion-features" if data == "fashion" else "still-features")
    print(features.train_features(checked(out, training), training, data))


def train_reader(
    out: Path = Path("runs/still-reader"), start: str | None = None, training: Options = Options()
) -> None:
    """Train still-reader, the judge from truth: it reads every factor of a still-life scene off its picture.

    Args:
        out: folder of this training.
        start: continue from these weights: still-reader, a folder or a file.
    """
    from varlite.training import train_reader as reader

    print(reader.train_reader(checked(out, training), training, start))


def train_classifier(out: Path = Path("runs/fashion-classifier"), training: Options = Options()) -> None:
    """Train fashion-classifier, the small CNN whose accuracy and features score the small models.

    Args:
        out: folder of this training.
    """
    from varlite.training import train_classifier as classifier

    print(classifier.train_classifier(checked(out, training), training))
