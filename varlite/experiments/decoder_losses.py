"""What each term of the paper's loss buys and costs: one decoder, trained on from the same weights with each.

    varlite reproduce decoder

Tokens stay as they are, so the transformers stay valid, and samples of them are judged as well as reconstructions. The
panel (evaluation/judges/) says how the pictures are; no network of it took part in any loss. For
data/results/decoder.json.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from varlite.checkpoints.cards import read_card
from varlite.checkpoints.load import load, load_tokenizer, weights_file
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_bytes, to_float
from varlite.evaluation.judges.interface import Judge, Pictures
from varlite.evaluation.judges.jury import ask, fashion_pictures, open_judges, open_views
from varlite.evaluation.small_models import Scorer, class_balanced, reconstruct
from varlite.experiments.bands import open_record
from varlite.io.files import sha256, write_json
from varlite.io.pictures import save_png, tile
from varlite.io.provenance import command, machine, versions
from varlite.sampling import generate_many
from varlite.tokenizer import VQVAE
from varlite.training.options import Options
from varlite.training.recipes import override
from varlite.training.tune_decoder import RECIPE, tune_decoder

BEFORE, WHOLE = "before", "whole loss"
ARMS = {
    "squared error": ("perceptual=none", "gan=0"),
    "+ perceptual": ("gan=0",),
    "+ adversary": ("perceptual=none",),
    WHOLE: (),
}
MODELS = ("fashion-var-d4", "fashion-var-d6")
SETTINGS: dict[str, Any] = {"cfg": 1.5, "top_k": 0, "top_p": 0.96}
# Those that look at pictures; what a judge of tokens says does not depend on the decoder.
ASKED = ("fd_first", "fd_second", "recall_first", "recall_second", "sw_pixels", "sw_patches", "kid_imagenet")
SHOWN = 2  # pictures of each class


def sharpness(images_N1HW: torch.Tensor) -> float:
    """Mean step between neighbouring pixels, bytes in [0, 1]."""
    x = images_N1HW.float() / 255
    return ((x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()).item() / 2


class Bench:
    """Everything that decoders are judged with, opened once: pictures, the panel, the tokens of samples."""

    def __init__(self, tokenizer: VQVAE, num: int, seed: int, imagenet: bool):
        self.tokenizer, self.num, self.seed = tokenizer, num, seed
        self.views = open_views(tokenizer)
        self.reference, self.real, training = fashion_pictures(num, self.views)
        judges = open_judges(tokenizer, training, imagenet)
        self.judges: list[Judge] = [judge for judge in judges if judge.name in ASKED]
        self.scorer, self.test = Scorer(), FashionMNIST("test")
        self.label_N = class_balanced(num, len(self.test.classes))
        self.drawn: dict[str, list[torch.Tensor]] = {}

    def judged(self, images: torch.Tensor, label_N: torch.Tensor) -> dict[str, Any]:
        """The panel's scores of `images`, accuracy, and sharpness as a ratio to real pictures'."""
        report = ask(self.judges, Pictures(images, label_N, self.views), self.reference, self.real)
        found = {name: {key: rounded(getattr(score, key)) for key in ("value", "low", "high", "floor")}
                 for name, score in report.scores.items()}  # fmt: skip
        accuracy = (self.scorer.features(images)[1] == label_N).float().mean().item()
        ratio = sharpness(images) / sharpness(self.real.images)
        return {"judges": found, "accuracy": rounded(accuracy), "sharpness": rounded(ratio)}

    def reconstructed(self, tokenizer: VQVAE) -> dict[str, Any]:
        """Of the whole test set: error and Fréchet distance; of its first pictures: the panel."""
        again = reconstruct(tokenizer, self.test.all_images)
        error = F.mse_loss(to_float(again), to_float(self.test.all_images)).item()
        fd = self.scorer.score(again, self.test.labels)["fd"]
        few = self.scorer.balanced_rows(self.label_N)
        return {"mse": rounded(error), "fd": rounded(fd)} | self.judged(again[few], self.test.labels[few])

    def tokens(self, model: str) -> list[torch.Tensor]:
        """Token maps that a model draws, equally many of each class; the same for every decoder."""
        if model not in self.drawn:
            maps: list[torch.Tensor] = []

            def keep(step: Any) -> None:
                maps.append(step.idx_Bl)

            for _ in generate_many(*load(model), self.label_N.tolist(), self.seed, on_scale=keep, **SETTINGS):
                pass
            K = self.tokenizer.scales.K
            self.drawn[model] = [torch.cat(maps[k::K]) for k in range(K)]
        return self.drawn[model]

    @torch.inference_mode()
    def sampled(self, tokenizer: VQVAE, model: str) -> dict[str, Any]:
        """The panel on samples of a model, decoded by `tokenizer`."""
        return self.judged(decode(tokenizer, self.tokens(model)), self.label_N)


@torch.inference_mode()
def decode(tokenizer: VQVAE, idx: Sequence[torch.Tensor]) -> torch.Tensor:
    """Token maps -> bytes, 250 at a time."""
    parts = zip(*(idx_Bl.split(250) for idx_Bl in idx), strict=True)
    return torch.cat([to_bytes((tokenizer.decode(list(part)) + 1) / 2) for part in parts])


def reproduce_decoder(
    out: Path,
    runs: Path = Path("runs/decoder"),
    tokenizer: str = "fashion-vq",
    num: int = 2000,
    options: Options = Options(),
    imagenet: bool = False,
) -> dict[str, Any]:
    """Train every arm in a folder of `runs`, judge it; written to decoder.json and decoder.png in the folder `out`.

    num: reconstructions, and samples of each model, that the panel judges. imagenet: with the judge that needs timm.
    It resumes. Raises ValueError if `out` holds the result of another start or recipe.
    """
    recipe = json.loads(json.dumps(asdict(override(RECIPE, options))))  # as it comes back from the file
    start = {"tokenizer": tokenizer, "start_sha256": sha256(weights_file(tokenizer)), "num": num, "seed": options.seed}
    record = open_record(out / "decoder.json", start | {"recipe": recipe}, {"arms": {}})
    bench: Bench | None = None
    for name, changes in {BEFORE: None, **ARMS}.items():
        folder = tokenizer if changes is None else str(folder_of(runs, name))
        if changes is not None:
            of_arm = replace(options, recipe=(*options.recipe, *changes))
            tune_decoder(tokenizer, "fashion", Path(folder), of_arm)
        known = record["arms"].get(name)
        if known and not (imagenet and "kid_imagenet" not in known["reconstructions"]["judges"]):
            continue
        bench = bench or Bench(load_tokenizer(tokenizer), num, options.seed, imagenet)
        decoder, minutes = load_tokenizer(folder), read_card(folder).get("training", {}).get("minutes")
        found: dict[str, Any] = {"changes": list(changes or ()), "minutes": None if changes is None else minutes}
        found["reconstructions"] = bench.reconstructed(decoder)
        found["samples"] = {model: bench.sampled(decoder, model) for model in MODELS}
        record["arms"][name] = found
        record |= {"command": command("reproduce decoder", options, num=num, imagenet=imagenet, tokenizer=tokenizer)}
        record |= {"machine": machine(), "versions": versions()}
        write_json(out / "decoder.json", record)
    save_picture(out / "decoder.png", tokenizer, runs)
    return record


def folder_of(runs: Path, arm: str) -> Path:
    return runs / arm.replace("+ ", "").replace(" ", "-")


def save_picture(path: Path, tokenizer: str, runs: Path) -> None:
    """The first test pictures of each class, and a row below for the decoder before and for every arm."""
    test = FashionMNIST("test")
    rows = torch.stack([(test.labels == c).nonzero().flatten()[:SHOWN] for c in range(10)]).flatten()
    save_png(path, strip([tokenizer, *(str(folder_of(runs, arm)) for arm in ARMS)], test.all_images[rows]))


def strip(tokenizers: Sequence[str], images: torch.Tensor) -> torch.Tensor:
    """One picture: the images, bytes (N, 1, 28, 28), in its first row, and their reconstructions, a row a tokenizer."""
    again = [list(reconstruct(load_tokenizer(name), images)) for name in tokenizers]
    return tile([list(images), *again])


def report(record: dict[str, Any]) -> None:
    """Print a line for each arm."""
    for name, arm in record["arms"].items():
        found = arm["reconstructions"]
        others = ", ".join(f"{judge} {score['value']:.4g}" for judge, score in found["judges"].items())
        print(
            f"{name:14s} error {found['mse']:.4f}, fd {found['fd']:.3f}, sharpness {found['sharpness']:.2f}, {others}"
        )


def rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
