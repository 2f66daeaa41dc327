"""Why DiT's samples are more varied than VAR's: `varlite reproduce dit-variety`, data/results/dit-variety.json.

In table 1 the judges of variety within a class find DiT's samples nearer to real pictures than VAR's. Three reasons
come to mind; each is tested on the first trainings, by changing one thing and drawing again with the same seed:

    codebook     DiT's latents go through VAR's quantizer before the decoder, and so do those of real pictures
    filter       VAR draws without top-p
    guidance     and with a third of the guidance, so that its samples are about as easy to recognise as DiT's
"""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.load import load, weights_file
from varlite.datasets.pixels import to_bytes, to_float
from varlite.evaluation.drawn_sets import draw_set
from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.jury import open_panel
from varlite.evaluation.judges.verdict import Report, prefer, short
from varlite.evaluation.small_models import Scorer, class_balanced
from varlite.experiments.bands import open_record
from varlite.experiments.table1 import RUNS, trained
from varlite.io.files import sha256, write_json
from varlite.io.provenance import command, machine, versions
from varlite.sampling import generate_many
from varlite.training.options import Options

VARIETY = ("recall_first", "recall_second", "spread_pixels", "spread_features", "nearest_pixels", "nearest_features")
CHANGES = {  # what is changed: the set before, the set after
    "codebook": ("DiT", "DiT, quantized"),
    "codebook, real pictures": ("real", "real, quantized"),
    "filter": ("VAR", "VAR, no filter, cfg 1.5"),
    "guidance": ("VAR, no filter, cfg 1.5", "VAR, no filter, cfg 0.5"),
    "what is left": ("VAR, no filter, cfg 0.5", "DiT"),
}


class Bench:
    """Both models, the judges of variety for `num` images, and the sets by name."""

    def __init__(self, sources: Mapping[str, str], num: int):
        (self.var, self.tokenizer), (self.dit, _) = load(sources["VAR"]), load(sources["DiT"])
        self.num, self.panel, self.scorer = num, open_panel(self.tokenizer, num, imagenet=False), Scorer()
        self.panel.judges = [judge for judge in self.panel.judges if judge.name in VARIETY]
        self.sets: dict[str, Callable[[], Pictures]] = {
            "VAR": self.draw,
            **{f"VAR, no filter, cfg {cfg}": partial(self.draw, cfg=cfg, top_p=0.0) for cfg in (1.5, 0.5)},
            "DiT": lambda: self.show(self.of_dit, False),
            "DiT, quantized": lambda: self.show(self.of_dit, True),
            "real": lambda: self.show(self.of_real, False),
            "real, quantized": lambda: self.show(self.of_real, True),
        }

    def draw(self, **settings: Any) -> Pictures:
        return draw_set(self.var, self.tokenizer, self.panel.views, self.num, **settings)[0]

    @cached_property
    def of_real(self) -> torch.Tensor:
        """Latents (N, Z, h, w) of training pictures."""
        return torch.cat([self.tokenizer.features(to_float(img)) for img in self.panel.real.images.split(250)])

    @cached_property
    def of_dit(self) -> torch.Tensor:
        """Latents (N, Z, h, w) of DiT's samples: its estimate of them in the last step."""
        steps: list[Any] = []
        found, labels = [], class_balanced(self.num, 10)
        for _ in generate_many(self.dit, self.tokenizer, labels, 0, 100, on_scale=steps.append):
            found.append(steps[-1].h_BlZ.transpose(1, 2).unflatten(2, self.dit.scales.last))
        return torch.cat(found)

    def show(self, f_NZhw: torch.Tensor, quantized: bool) -> Pictures:
        """What the decoder makes of latents, or of as much of them as the codes can hold; classes in turn."""
        codes, scales = self.tokenizer.quantizer, self.tokenizer.scales
        held = (codes.encode(f, scales)[1][-1] if quantized else f for f in f_NZhw.split(250))
        images = [to_bytes((self.tokenizer.to_image(f) + 1) / 2) for f in held]
        return Pictures(torch.cat(images), class_balanced(self.num, 10), self.panel.views)

    @torch.inference_mode()
    def measure(self, name: str) -> dict[str, Any]:
        """What the judges of variety, and the scores by fashion-classifier, say of a set."""
        x = self.sets[name]()
        scores = self.scorer.score(x.images, class_balanced(self.num, 10))
        return {"scores": short(scores), "panel": self.panel.ask(x).record()}


def reproduce_dit_variety(out: Path, runs: Path = RUNS, num: int = 2000) -> dict[str, Any]:
    """Measure every set; written to `out`/dit-variety.json. VAR is trained as for table 1 if no run of it is in `runs`.
    Raises ValueError for a number that the classes do not divide, or if `out` holds other measurements."""
    class_balanced(num, 10)  # raises ValueError
    presets = {name: f"fashion-{name.lower()}-d4" for name in ("VAR", "DiT")}
    sources = {name: trained(preset, runs / preset, Options()) for name, preset in presets.items()}
    of = {"num": num, "seed": 0, "models": {name: sha256(weights_file(source)) for name, source in sources.items()}}
    record = open_record(path := out / "dit-variety.json", of, {"sets": {}})
    bench = Bench(sources, num)
    for name in [name for name in bench.sets if name not in record["sets"]]:
        record["sets"][name] = bench.measure(name)
        write_json(path, record)
    record |= {"effects": effects(record), "command": command("reproduce dit-variety", num=num)}
    write_json(path, record | {"machine": machine(), "versions": versions("torch_fidelity")})
    return record


def effects(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each change the two sets, and which judges of variety find the second nearer to the data, which farther."""
    reports = {name: Report.read(entry["panel"], name) for name, entry in record["sets"].items()}
    found = {}
    for test, (before, after) in CHANGES.items():
        worse, better = prefer(reports[before], reports[after], VARIETY)
        found[test] = {"before": before, "after": after, "better by": better, "worse by": worse}
    return found


def report(record: Mapping[str, Any]) -> None:
    """Print a line for each set, and one for each test."""
    for name, entry in record["sets"].items():
        values = "  ".join(f"{judge} {entry['panel']['scores'][judge]['value']:.3f}" for judge in VARIETY)
        print(f"{name:24s} accuracy {entry['scores']['accuracy']:.3f}  {values}")
    for test, of in record["effects"].items():
        print(f"{test}: {of['before']} -> {of['after']}: better by {of['better by']}, worse by {of['worse by']}")
