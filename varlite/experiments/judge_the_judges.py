"""The judges judged: known corruptions of real pictures in growing strength, and what each judge says of them.

    varlite reproduce judges --imagenet

The Fashion-MNIST test set is cut into pictures to corrupt, spare ones and a reference, anew for each seed, so that what
is corrupted is neither in the reference nor in the training set. Whether a judge sees a corruption is decided in
`sees`. A judge that does not must name the corruption in `blind`, in its file. `reports_of` puts a row of the table
before the verdict, as sets of samples would be. The last row is not of real pictures: samples of a model, with scaled
spatial guidance in growing strength, which pleases fashion-classifier.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.checkpoints.load import load, load_tokenizer
from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.drawn_sets import draw_set
from varlite.evaluation.judges.interface import Judge, Pictures, Views
from varlite.evaluation.judges.intervals import quantile
from varlite.evaluation.judges.jury import open_judges, open_views
from varlite.evaluation.judges.verdict import Report, Score, verdict_line
from varlite.experiments.corruptions import CORRUPTIONS, Material
from varlite.hooks.ssg import ssg_for
from varlite.io.files import write_json
from varlite.io.provenance import machine, this_command, versions

REAL = "real"  # strength 0 of every corruption: other real pictures
SSG_STRENGTHS = (0, 0.1, 0.3, 0.6)  # of samples; the first is plain sampling


def strengths_of(name: str) -> tuple[float, ...]:
    """The strengths of a row of the table, weakest first."""
    return CORRUPTIONS[name][1] if name in CORRUPTIONS else SSG_STRENGTHS if name == "ssg" else (0,)


def cut(seed: int, num: int, reference: int) -> tuple[Material, torch.Tensor, torch.Tensor]:
    """(pictures to corrupt, as many of each class, with spares; reference images; their labels), of the test set.

    Raises ValueError if there are not as many pictures.
    """
    test, train = FashionMNIST("test"), FashionMNIST("train")
    if num % 10 or num < 100 or 2 * num + reference > len(test.labels):
        raise ValueError(
            f"num must be a multiple of 10, at least 100, with 2 num + reference at most {len(test.labels)}, got {num} "
            f"and a reference of {reference}"
        )
    order = torch.randperm(len(test.labels), generator=torch.Generator().manual_seed(seed))
    label = test.labels[order]
    base = torch.cat([(label == c).nonzero().flatten()[: num // 10] for c in range(10)]).sort().values
    left = torch.ones(len(order), dtype=torch.bool)
    left[base] = False
    rest = order[left]
    base, spare, held = order[base], rest[:num], rest[num : num + reference]
    x, y = test.all_images, test.labels
    material = Material(x[base], y[base], x[spare], y[spare], train.all_images, train.labels, seed)
    return material, x[held], y[held]


def scores_of(judges: Sequence[Judge], pictures: Pictures, scorers: Mapping[str, Any]) -> dict[str, float]:
    """Scores by judge. Judges of drawn tokens score samples that come with them, and no others."""
    fit = [judge for judge in judges if pictures.has("drawn") or not getattr(judge, "drawn", False)]
    return {judge.name: scorers[judge.name](judge.rows(pictures)) for judge in fit}


def one_seed(
    seed: int, num: int, reference: int, judges: Sequence[Judge], views: Views, model: str = ""
) -> dict[str, list[dict[str, float]]]:
    """Scores by corruption, one entry a strength, weakest first; under "real" the one entry of uncorrupted pictures.

    model: one whose samples are judged as well, with `SSG_STRENGTHS`, by its name; none if empty.
    """
    material, reference_images, reference_labels = cut(seed, num, reference)
    held = Pictures(reference_images, reference_labels, views, real=True)
    scorers = {judge.name: judge.against(judge.rows(held)) for judge in judges}

    def scored(images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        return scores_of(judges, Pictures(images, labels, views), scorers)

    found = {REAL: [scored(material.images, material.labels)]}
    for name, (corrupt, strengths) in CORRUPTIONS.items():
        found[name] = [scored(*corrupt(material, strength)) for strength in strengths]
        print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
    if model:
        drawer, tokenizer = load(model)
        sets = [
            draw_set(drawer, tokenizer, views, num, seed, on_logits=ssg_for(drawer, strength))[0]
            for strength in SSG_STRENGTHS
        ]
        found["ssg"] = [scores_of(judges, pictures, scorers) for pictures in sets]
    return found


def sees(lower_is_better: bool, scores: Sequence[Sequence[float]]) -> bool:
    """Whether a judge sees a corruption. scores: by strength, what is not corrupted first, and by seed.

    It does if the mean gets worse with every strength, or at least does not fall back by more than two deviations; and
    if at the strongest it has risen by three deviations of what is not corrupted, and no seed's score lies among those.
    """
    worse = np.array(scores) * (1 if lower_is_better else -1)
    mean, std = worse.mean(1), worse.std(1, ddof=1)
    ordered = all(mean[i + 1] >= mean[i] - 2 * math.hypot(std[i], std[i + 1]) for i in range(len(mean) - 1))
    return bool(ordered and mean[-1] - mean[0] > 3 * std[0] and worse[-1].min() > worse[0].max())


def judge_the_judges(
    num: int = 500, reference: int = 3000, seeds: Sequence[int] = (0, 1, 2, 3), tokenizer: str = "fashion-vq",
    model: str = "", imagenet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The table: for each corruption and judge the scores by strength and seed, and whether the judge sees it.

    Raises ValueError for fewer than two seeds: the noise of real pictures is measured over them.
    """
    if len(seeds) < 2:
        raise ValueError(f"seeds must be at least two, got {list(seeds)}")
    vq = load_tokenizer(tokenizer)
    views, train = open_views(vq), FashionMNIST("train")
    judges = open_judges(vq, Pictures(train.all_images, train.labels, views), imagenet)
    runs = [one_seed(seed, num, reference, judges, views, model) for seed in seeds]
    table: dict[str, Any] = {}
    for name in runs[0]:
        table[name] = {"strengths": strengths_of(name)}
        for judge in (j for j in judges if j.name in runs[0][name][0]):
            scores = [[run[name][i][judge.name] for run in runs] for i in range(len(runs[0][name]))]
            entry: dict[str, Any] = {"scores": [[float(f"{x:.5g}") for x in by_seed] for by_seed in scores]}
            table[name][judge.name] = entry
            if name != REAL:  # samples bring their own beginning
                before = table[REAL][judge.name]["scores"] if name in CORRUPTIONS else []
                entry["sees"] = sees(judge.lower_is_better, before + entry["scores"])
    about = {
        judge.name: {"sees": judge.sees, "lower_is_better": judge.lower_is_better, "squared": judge.squared}
        for judge in judges
    }
    return {
        "num": num,
        "reference": reference,
        "seeds": list(seeds),
        "tokenizer": tokenizer,
        "judges": about,
        "table": table,
    }


def reports_of(result: Mapping[str, Any], name: str) -> dict[str, Report]:
    """A corruption of the table as sets of samples for the verdict, by strength; "real" is the first.

    The value is the mean over seeds. Both intervals are those of one evaluation: Student's, by the deviation between
    seeds. Of samples the first is plain sampling instead of real pictures.
    """
    table, reports = result["table"], {}
    row = {judge: entry for judge, entry in table[name].items() if judge != "strengths"}
    factor = quantile(0.95, len(result["seeds"]) - 1)
    real = {judge: (np.mean(x), factor * np.std(x, ddof=1)) for judge, x in
            ((judge, entry["scores"][0]) for judge, entry in table[REAL].items() if judge != "strengths")}  # fmt: skip
    real |= {f"drawn_{kind}": real[encoded] for kind, encoded in (("tokens", "tokens"), ("pairs", "token_pairs"))}
    ladders = {judge: entry["scores"] for judge, entry in row.items()}
    names = [str(strength) for strength in table[name]["strengths"]]
    if name in CORRUPTIONS:
        ladders, names = {j: [*table[REAL][j]["scores"], *x] for j, x in ladders.items()}, [REAL, *names]
    for i, key in enumerate(names):
        scores = {}
        for judge, ladder in ladders.items():
            value, half = float(np.mean(ladder[i])), factor * float(np.std(ladder[i], ddof=1))
            about = result["judges"][judge]
            floor, floor_half = map(float, real[judge])
            scores[judge] = Score(
                value, value - half, value + half, floor, floor_half, about["lower_is_better"],
                about.get("squared", False),
            )  # fmt: skip
        reports[key] = Report(result["num"], scores)
    return reports


def reproduce_judges(
    out: Path,
    num: int = 500,
    reference: int = 3000,
    seeds: Sequence[int] = (0, 1, 2, 3),
    imagenet: bool = False,
) -> dict[str, Any]:
    """`judge_the_judges` with fashion-vq's tokens and fashion-var-d4's samples, written to `out`/judges.json."""
    result = judge_the_judges(num, reference, seeds, "fashion-vq", "fashion-var-d4", imagenet)
    write_json(out / "judges.json", result | {"command": this_command(), "machine": machine(), "versions": versions()})
    return result


def report(result: Mapping[str, Any]) -> None:
    """Print two lines for each corruption: the judges that see it, and those that do not; and the verdict."""
    for name, row in result["table"].items():
        seen = {judge: entry["sees"] for judge, entry in row.items() if isinstance(entry, dict) and "sees" in entry}
        if seen:
            yes, no = ([judge for judge, sees in seen.items() if sees is wanted] for wanted in (True, False))
            print(f"{name}: seen by {', '.join(yes) or 'none'}; not by {', '.join(no) or 'none'}")
            print(f"{name}: {verdict_line(reports_of(result, name))}")
