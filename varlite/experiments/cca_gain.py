"""What alignment (training/cca.py) gains, side by side with guidance: `varlite reproduce cca`, data/results/cca.json.

    before, cfg 0      the model as it is
    after, cfg 0       the same model, aligned: one pass a scale
    before, cfg 1.5    guidance: two passes a scale

Each on equally many samples of the same seed: fidelity, diversity, all judges, and seconds an image. Every finished
measurement is written at once; the same command again measures what is missing.
"""

from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.cards import read_card, read_log
from varlite.checkpoints.load import load, load_tokenizer, shipped
from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.jury import ask, fashion_pictures, open_judges, open_views
from varlite.evaluation.judges.second_classifier import load_second_classifier, second_accuracy
from varlite.evaluation.judges.verdict import Report, verdict
from varlite.evaluation.judging import PANEL
from varlite.evaluation.metrics import rounded
from varlite.evaluation.request import Request
from varlite.evaluation.samples import Samples
from varlite.evaluation.small_models import Scorer
from varlite.experiments.bands import SCORES, open_record
from varlite.io.files import sha256, write_json
from varlite.io.places import RESULTS
from varlite.io.provenance import command, machine, versions
from varlite.io.records import read_object
from varlite.presets import MODELS
from varlite.speed.timing import seconds_per_image
from varlite.tokenizer import fingerprint
from varlite.training.cca import align
from varlite.training.options import Options

ARMS = {"before, cfg 0": ("start", 0.0), "after, cfg 0": ("aligned", 0.0), "before, cfg 1.5": ("start", 1.5)}
BATCH = 64  # samples made at a time
BATCHES = (1, BATCH)  # that are timed


def load_cca(folder: Path = RESULTS) -> dict[str, Any] | None:
    """The record of `reproduce_cca` in a folder; None where there is none."""
    path = folder / "cca.json"
    return read_object(path) if path.exists() else None


def reproduce_cca(
    out: Path, runs: Path, num: int = 2000, options: Options = Options(), model: str = "fashion-var-d4",
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Align `model` in the folder `runs`/MODEL-cca, then score and time it beside itself; written to `out`/cca.json.

    Raises ValueError if that file holds measurements of another model, number or alignment.
    """
    aligned = align(model, "fashion", runs / f"{model}-cca", None, options)
    names = {"start": model, "aligned": str(aligned.parent)}
    of = {"model": model, "num": num, "seed": 0, "weights_sha256": sha256(shipped(model))}
    of |= {"aligned_sha256": sha256(aligned), "training": training_of(aligned.parent)}
    path = out / "cca.json"
    record = open_record(path, of, {"arms": {}})
    missing = [arm for arm in ARMS if arm not in record["arms"]]
    panel = Panel(num, MODELS[model].tokenizer) if missing else None
    for arm in missing:
        which, cfg = ARMS[arm]
        assert panel is not None
        record["arms"][arm] = {"weights": which, "cfg": cfg} | panel.scores(names[which], cfg, num, device)
        write_json(path, record)
    if "order" not in record:
        reports = {arm: Report.read(found[PANEL], arm) for arm, found in record["arms"].items()}
        places = verdict(reports)
        record["order"] = [{"arm": p.name, "rank": p.rank, "judge": p.judge, "away": p.away.value} for p in places]
        loaded = [(*load(names[which], device=device), settings(cfg)) for which, cfg in ARMS.values()]
        times = {batch: seconds_per_image(loaded, batch) for batch in BATCHES}
        for i, arm in enumerate(ARMS):
            record["arms"][arm]["seconds_per_image"] = {str(batch): seconds[i] for batch, seconds in times.items()}
        record |= {"command": command("reproduce cca", options, num=num), "machine": machine()}
        record["versions"] = versions("torch_fidelity")
        write_json(path, record)
    return record


def settings(cfg: float) -> dict[str, Any]:
    """How samples are drawn: as everywhere, but for guidance."""
    return Request().settings | {"cfg": cfg}


def training_of(folder: Path) -> dict[str, Any]:
    """What the alignment was: recipe, seed, minutes, and the course of loss and likelihoods."""
    card = read_card(str(folder))["training"]
    curve = [{key: line[key] for key in ("step", "loss", "own", "other")} for line in read_log(folder)]
    return {key: card[key] for key in ("recipe", "seed", "minutes", "machine")} | {"curve": curve}


class Panel:
    """The scores of fashion-classifier and all judges, opened once."""

    def __init__(self, num: int, tokenizer: str):
        self.scorer, self.second = Scorer(), load_second_classifier()
        vq = load_tokenizer(tokenizer)
        self.views, self.tokenizer = open_views(vq), fingerprint(vq)
        self.reference, self.real, training = fashion_pictures(num, self.views)
        self.judges = open_judges(vq, training)

    def scores(self, name: str, cfg: float, num: int, device: str | torch.device) -> dict[str, Any]:
        """Of `num` class-balanced samples of one model."""
        samples = Samples(name, None, num, 0, settings(cfg), "float32", torch.device(device))
        images, tokens = [], []
        for start in range(0, num, BATCH):
            images.append(samples.batch(slice(start, min(num, start + BATCH))))
            drawn = samples.watch.tokens(samples.tokenizer)
            assert drawn is not None  # a model with a likelihood draws codes
            tokens.append(drawn)
        pictures = Pictures(torch.cat(images), samples.labels, self.views)
        pictures.once("drawn", lambda: torch.cat(tokens))
        found = self.scorer.score(pictures.images, samples.labels)
        found["second_accuracy"] = second_accuracy(self.second, pictures.images, samples.labels)
        judged = ask(self.judges, pictures, self.reference, self.real, tokenizer=self.tokenizer)
        return {"scores": rounded(found), PANEL: judged.record()}


def report(record: dict[str, Any]) -> None:
    """Print a line for each arm, and the judges' order."""
    for arm, found in record["arms"].items():
        shown = "  ".join(f"{name} {found['scores'][name]:.3f}" for name in SCORES)
        times = "  ".join(f"{1000 * s:.1f} ms (batch {batch})" for batch, s in found["seconds_per_image"].items())
        print(f"{arm:16s} {shown}  second FD {found[PANEL]['scores']['fd_second']['value']:.3f}  {times}")
    order = ", ".join(f"{p['arm']} (rank {p['rank']:g}, {p['away']:.1f} by {p['judge']})" for p in record["order"])
    print(f"nearest to real pictures first, by the worst judge that had no part in any choice: {order}")
