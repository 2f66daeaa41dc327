"""Training-free additions to sampling before the panel: `varlite reproduce additions`, data/results/additions.json.

    plain            fashion-var-d4 and fashion-var-d6 as they are
    ssg              scaled spatial guidance in growing strength (hooks/ssg.py)
    drafted          fashion-var-d6 draws the first scales, fashion-var-d4 the others (hooks/drafting.py)
    kept             rejection sampling with fashion-classifier (evaluation/rejection.py)
    temperature      logits divided by one number, as language models are sampled; neither paper does it

All sets have the same seed and number of images. Every finished set is written at once; the same command again measures
what is missing. Each set is held against plain sampling of fashion-var-d4, by all judges that had no part in a choice,
and by those of them that look at images alone: SSG wins or loses by the tokens that were drawn.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from varlite.checkpoints.assemble import twin
from varlite.checkpoints.load import load, shipped
from varlite.drawing import Step
from varlite.evaluation.drawn_sets import draw_set
from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.jury import open_panel
from varlite.evaluation.judges.verdict import OF_DRAWN, Report, prefer, verdict_line, voters_of
from varlite.evaluation.rejection import NO_VOTE, drawn_for, kept_rows, open_chooser
from varlite.evaluation.small_models import Scorer, class_balanced
from varlite.experiments.bands import SCORES, open_record
from varlite.hooks.drafting import Drafting
from varlite.hooks.ssg import SSG
from varlite.inference import prepare
from varlite.io.files import sha256, write_json
from varlite.io.provenance import command, machine, versions
from varlite.speed.timing import seconds_per_image

SMALL, LARGE, CHOOSER = "fashion-var-d4", "fashion-var-d6", "fashion-classifier"
PLAIN = "d4"
STRENGTHS, STEPS, SHARES = (0.1, 0.3, 0.6), (1, 2, 3, 4), (0.5, 0.25)
TEMPERATURES = (0.8, 0.9, 1.1)


def temperature(T: float) -> Callable[[Step], None]:
    """The hook that divides all logits by T."""

    def divide(step: Step) -> None:
        step.logits_BlV = step.logits_BlV / T

    return divide


class Bench:
    """Both models, the panel for `num` images, and the sets by name."""

    def __init__(self, num: int):
        self.num = num
        (self.small, self.tokenizer), (self.large, _) = load(SMALL), load(LARGE)
        self.panel, self.scorer = open_panel(self.tokenizer, num), Scorer()
        classes = self.small.config.classes
        self.labels = class_balanced(10 * classes, classes)  # of every batch of `draw_set`
        self.sets: dict[str, Callable[[], Pictures]] = {PLAIN: lambda: self.draw(self.small)}
        self.sets["d6"] = lambda: self.draw(self.large)
        for strength in STRENGTHS:
            self.sets[f"d4, ssg {strength}"] = partial(self.draw, self.small, on_logits=SSG(strength))
        for steps in STEPS:
            self.sets[f"d6 drafts {steps}, d4 refines"] = partial(self.drafted, steps)
        for share in SHARES:
            self.sets[f"d4, {share} kept"] = partial(self.keep, share)
        for T in TEMPERATURES:
            self.sets[f"d4, temperature {T}"] = partial(self.draw, self.small, on_logits=temperature(T))

    def drafted(self, steps: int) -> Pictures:
        """Samples whose first `steps` scales the large model draws."""
        return self.draw(self.small, on_logits=Drafting(self.large, self.labels, steps))

    def draw(self, model: Any, num: int | None = None, **settings: Any) -> Pictures:
        return draw_set(model, self.tokenizer, self.panel.views, num or self.num, **settings)[0]

    def keep(self, share: float) -> Pictures:
        """The likeliest of more samples, as many of each class."""
        classes = self.small.config.classes
        drawn = self.draw(self.small, classes * drawn_for(self.num // classes, share))
        labels = class_balanced(len(drawn), classes)
        return drawn.part(kept_rows(open_chooser(CHOOSER)(drawn.images, labels), labels, share))

    def measure(self, name: str) -> dict[str, Any]:
        """What the panel, and the scores by fashion-classifier, say of a set."""
        samples = self.sets[name]()
        report = self.panel.ask(samples, chosen_with=tuple(sorted(NO_VOTE[CHOOSER])))
        assert samples.labels is not None
        scores = self.scorer.score(samples.images, samples.labels)
        return {"scores": {key: round(scores[key], 5) for key in SCORES}, "panel": report.record()}

    def seconds(self) -> dict[str, float]:
        """Seconds an image of each set, in batches of 64 and in turns; of those kept with all that are drawn for it."""
        labels = [i % self.small.config.classes for i in range(64)]
        large = prepare(twin(self.large))
        ways: dict[str, tuple[Any, dict[str, Any]]] = {PLAIN: (self.small, {}), "d6": (self.large, {})}
        ways |= {f"d4, ssg {x}": (self.small, {"on_logits": SSG(x)}) for x in STRENGTHS}
        ways |= {f"d6 drafts {n}, d4 refines": (self.small, {"on_logits": Drafting(large, labels, n)}) for n in STEPS}
        ways |= {f"d4, temperature {T}": (self.small, {"on_logits": temperature(T)}) for T in TEMPERATURES}
        times = seconds_per_image([(model, self.tokenizer, settings) for model, settings in ways.values()])
        found = dict(zip(ways, times, strict=True))
        return found | {f"d4, {x} kept": float(f"{found[PLAIN] / x:.3g}") for x in SHARES}


def reproduce_additions(out: Path, num: int = 2000) -> dict[str, Any]:
    """Measure every set; written to `out`/additions.json. Raises ValueError for a number that whole batches do not make
    up, or if `out` holds other measurements."""
    if num < 100 or num % 100:
        raise ValueError(f"num must be a multiple of 100, ten images of each class, got {num}")
    bench = Bench(num)
    path = out / "additions.json"
    about = {"num": num, "models": {name: sha256(shipped(name)) for name in (SMALL, LARGE)}}
    record = open_record(path, about, {"sets": {}})
    for name in bench.sets:
        if name not in record["sets"]:
            record["sets"][name] = bench.measure(name)
            write_json(path, record)
    for name, seconds in bench.seconds().items():
        record["sets"][name]["seconds_per_image"] = seconds
    record |= {"verdicts": verdicts(record), "command": command("reproduce additions", num=num)}
    write_json(path, record | {"machine": machine(), "versions": versions()})
    return record


def verdicts(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each set against plain sampling: the verdict of all judges, and of those that look at images alone; and which
    judges prefer which."""
    reports = {name: Report.read(entry["panel"], name) for name, entry in record["sets"].items()}
    found: dict[str, dict[str, Any]] = {}
    for name, report in reports.items():
        if name == PLAIN:
            continue
        pair = {PLAIN: reports[PLAIN], name: report}
        worse, better = prefer(pair[PLAIN], report, voters_of(pair))
        found[name] = {"all": verdict_line(pair), "of images": verdict_line(pair, OF_DRAWN)}
        found[name] |= {"better by": better, "worse by": worse}
    return found


def report(record: Mapping[str, Any]) -> None:
    """Print a line for each set, and two for each verdict."""
    for name, entry in record["sets"].items():
        (judge, away), *_ = Report.read(entry["panel"], name).worst_first()
        scores = "  ".join(f"{key} {entry['scores'][key]:.3f}" for key in SCORES)
        seconds = 1000 * entry["seconds_per_image"]
        print(f"{name:28s} {scores}  {seconds:.1f} ms  worst {away.value:.1f} ({judge})")
    for verdict in record["verdicts"].values():
        print(f"{verdict['all']}\n    images alone: {verdict['of images']}")
