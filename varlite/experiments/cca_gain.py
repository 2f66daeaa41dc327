"""What alignment (training/cca.py) gains, side by side with guidance: `varlite reproduce cca`, data/results/cca.json.

    before, cfg 0      the model as it is
    after, cfg 0       the same model, aligned: one row of the batch for each picture
    before, cfg 1.5    guidance: two rows for each picture, with the label and without

Each on equally many samples of the same seed: fidelity, diversity, all judges, and seconds an image. Every finished
measurement is written at once; the same command again measures what is missing.
"""

from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.cards import read_card, read_log
from varlite.checkpoints.load import load, load_tokenizer, shipped
from varlite.evaluation.drawn_sets import draw_set
from varlite.evaluation.judges.jury import open_panel
from varlite.evaluation.judges.second_classifier import load_second_classifier, second_accuracy
from varlite.evaluation.judges.verdict import Report, verdict
from varlite.evaluation.judging import PANEL
from varlite.evaluation.metrics import rounded
from varlite.evaluation.request import Request
from varlite.evaluation.small_models import Scorer
from varlite.experiments.bands import SCORES, open_record
from varlite.inference import prepare
from varlite.io.files import sha256, write_json
from varlite.io.places import RESULTS
from varlite.io.provenance import command, machine, versions
from varlite.io.records import read_object
from varlite.presets import MODELS
from varlite.speed.timing import seconds_per_image
from varlite.training.cca import align
from varlite.training.options import Options

ARMS = {"before, cfg 0": ("start", 0.0), "after, cfg 0": ("aligned", 0.0), "before, cfg 1.5": ("start", 1.5)}
ROUNDS = {1: 60, 64: 9}  # how often batches of these sizes are timed


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
    of |= {"aligned_sha256": sha256(aligned)}
    path = out / "cca.json"
    record = open_record(path, of, {"training": training_of(aligned.parent), "arms": {}})
    missing = [arm for arm in ARMS if arm not in record["arms"]]
    scores = Scores(num, MODELS[model].tokenizer) if missing else None
    for arm in missing:
        which, cfg = ARMS[arm]
        assert scores is not None
        record["arms"][arm] = {"weights": which, "cfg": cfg} | scores.of(names[which], cfg, num, device)
        write_json(path, record)
    if "order" not in record:
        reports = {arm: Report.read(found[PANEL], arm) for arm, found in record["arms"].items()}
        places = verdict(reports)
        record["order"] = [{"arm": p.name, "rank": p.rank, "judge": p.judge, "away": p.away.value} for p in places]
        loaded = [(*load(names[which], device=device), settings(cfg)) for which, cfg in ARMS.values()]
        times = {batch: seconds_per_image(loaded, batch, rounds) for batch, rounds in ROUNDS.items()}
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


class Scores:
    """The scores of fashion-classifier and of the panel, opened once."""

    def __init__(self, num: int, tokenizer: str):
        self.panel = open_panel(load_tokenizer(tokenizer), num)
        self.scorer, self.second = Scorer(), load_second_classifier()

    def of(self, name: str, cfg: float, num: int, device: str | torch.device) -> dict[str, Any]:
        """Of `num` class-balanced samples of one model."""
        model, tokenizer = load(name, device=device)
        samples, _ = draw_set(prepare(model), tokenizer, self.panel.views, num, **settings(cfg))
        assert samples.labels is not None
        found = self.scorer.score(samples.images, samples.labels)
        found["second_accuracy"] = second_accuracy(self.second, samples.images, samples.labels)
        return {"scores": rounded(found), PANEL: self.panel.ask(samples).record()}


def report(record: dict[str, Any]) -> None:
    """Print a line for each arm, and the judges' order."""
    for arm, found in record["arms"].items():
        shown = "  ".join(f"{name} {found['scores'][name]:.3f}" for name in SCORES)
        times = "  ".join(f"{1000 * s:.1f} ms (batch {batch})" for batch, s in found["seconds_per_image"].items())
        print(f"{arm:16s} {shown}  second FD {found[PANEL]['scores']['fd_second']['value']:.3f}  {times}")
    order = ", ".join(f"{p['arm']} (rank {p['rank']:g}, {p['away']:.1f} by {p['judge']})" for p in record["order"])
    print(f"nearest to real pictures first, by the worst judge that had no part in any choice: {order}")
