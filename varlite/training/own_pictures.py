"""`varlite fit`: from someone's pictures to a model of them, its pictures and its scores, in a number of minutes."""

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.cards import last_logged, read_card
from varlite.checkpoints.load import load
from varlite.checkpoints.readme import model_card
from varlite.datasets import Dataset, open_dataset
from varlite.datasets.batches import rows_across
from varlite.datasets.pixels import to_bytes, to_float
from varlite.evaluation.judges.interface import Pictures, pixels
from varlite.evaluation.judges.memorising import Memorising
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, projection_views
from varlite.evaluation.metrics import rounded
from varlite.evaluation.small_models import reconstruct
from varlite.io.files import atomic, write_json
from varlite.io.outputs import check_folder
from varlite.io.pictures import save_png, tile
from varlite.io.provenance import command
from varlite.io.records import read_object, read_record
from varlite.sampling import generate_many
from varlite.tokenizer import VQVAE, TokenizerConfig
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.engine import Engine
from varlite.training.fit_plan import Plan, make_plan
from varlite.training.fit_timing import SAMPLES, SHOWN, options_of, tokenizer_recipe
from varlite.training.options import Options
from varlite.training.recipes import override
from varlite.training.tune_decoder import tune_decoder

CFG, TOP_P = 1.5, 0.96
COLUMNS = 8
COMPARED = 3000  # training pictures, at most, among which samples are looked for


def fit(
    data: str,
    out: Path | None = None,
    size: int | None = None,
    minutes: float = 20.0,
    options: Options = Options(),
    say: Callable[[str], None] = print,
) -> Path:
    """Train a tokenizer and a transformer on `data`, a folder or any other source, in about so many minutes.

    In OUT: plan.json, tokenizer/, model/ with its card and README.md, samples.png and reconstructions.png. The plan is
    made once: the same call goes on where it was stopped, and when all is done repeats what came out.
    size: height and width of the pictures; None is what the nearest tokenizer that ships takes. options: seed, flip and
    device. Returns the folder of the model. Raises ValueError for too few pictures, a size that cannot be had, or an
    OUT with another fit, and OSError where it cannot be written.
    """
    out = out or Path("runs") / f"fit-{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(data).name or 'pictures')}"
    check_folder("out", out)
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be positive, got {minutes:g}")
    plan = open_plan(data, out, size, minutes, options, say)
    for line in plan.lines(out):
        say(line)
    base = replace(options, steps=None, batch=None, lr=None, recipe=(), flip=plan.flip, seed=plan.seed)
    options_given = command("fit", out=out, size=size, minutes=plan.minutes, flip=plan.flip, seed=plan.seed or None)
    line = shlex.join(["varlite", "fit", data]) + options_given.removeprefix("varlite fit")
    train_tokenizer(plan, out, base, line)
    fitted = options_of(plan.model_steps, plan.model_batch, base, views=plan.views)
    stage2.train(plan.model, plan.used, out / "model", out / "tokenizer", plan.start or None, options=fitted)
    finish(plan, out, line, Engine(base).device, say)
    return out / "model"


def open_plan(
    data: str, out: Path, size: int | None, minutes: float, options: Options, say: Callable[[str], None]
) -> Plan:
    """The plan in OUT, or a new one. Raises ValueError if it is one of another fit."""
    path = out / "plan.json"
    if not path.exists():
        plan = make_plan(data, out, size, minutes, options, say)
        write_json(path, asdict(plan))
        return plan
    plan = read_record(Plan, read_object(path), path)
    asked = {"data": data, "size": size or plan.size, "minutes": minutes, "flip": options.flip, "seed": options.seed}
    changed = [
        f"{name} is {getattr(plan, name)} there, {x} here" for name, x in asked.items() if getattr(plan, name) != x
    ]
    if changed:
        raise ValueError(f"{out} holds a fit that is another ({'; '.join(changed)}): use another --out")
    return plan


def train_tokenizer(plan: Plan, out: Path, base: Options, line: str) -> None:
    """Stage 1 as planned: the decoder of a tokenizer that ships, all of it, or a new one."""
    options = options_of(plan.tokenizer_steps, plan.tokenizer_batch, base)
    if plan.way == "decoder":
        tune_decoder(plan.tokenizer, plan.used, out / "tokenizer", options)
        return
    recipe = override(tokenizer_recipe(plan.way, plan.tokenizer), options)
    config = TokenizerConfig(**plan.shape)
    start = plan.tokenizer if plan.way == "continued" else None
    stage1.train_config(config, recipe, plan.tokenizer, plan.used, out / "tokenizer", options, line, start)


def finish(plan: Plan, out: Path, line: str, device: torch.device, say: Callable[[str], None]) -> None:
    """Pictures, scores and the model's card, unless they are there; then what came out."""
    folder = out / "model"
    card = read_card(str(folder.absolute()))
    if "scores" not in card:
        model, vq = load(folder, device=device)
        splits = [open_dataset(plan.used, split, vq.image_size(), plan.channels) for split in ("train", "test")]
        scores = score(plan, out, model, vq, splits[0], splits[1])
        card |= {"scores": rounded(scores), "scores_command": line}
        with atomic(folder / "README.md") as temporary:
            temporary.write_text(model_card(model, card, str(folder), tokenizer_beside=True), encoding="utf-8")
        write_json(folder / "card.json", card)  # the last thing written: with scores it is done
    for told in summary(card["scores"], out):
        say(told)


def score(plan: Plan, out: Path, model: Any, vq: VQVAE, train: Dataset, test: Dataset) -> dict[str, float]:
    """Write the pictures, and score samples of the same classes as the held-out pictures against these.

    sw_pixels and sw_patches are sliced Wasserstein distances (evaluation/judges/sliced_wasserstein.py), beside those of
    reconstructions and of pictures trained on; memorised is how many more samples than held-out pictures lie nearer to
    a training picture than its own neighbour does.
    """
    rows = rows_across(test.labels, SAMPLES)
    real, label_N = test.images(rows), test.labels[rows]
    again, others = reconstruct(vq, real), train.images(rows_across(train.labels, len(rows)))
    settings: dict[str, Any] = {"cfg": CFG, "top_p": TOP_P}
    parts = generate_many(model, vq, label_N, plan.seed, **settings)
    samples = to_bytes(torch.cat([img for img, _ in parts])).cpu()
    classes = range(min(SHOWN // COLUMNS, len(plan.classes)))
    shown = [c for c in classes for _ in range(COLUMNS)] if len(plan.classes) > 1 else [0] * (SHOWN // 2)
    grid = torch.cat([img for img, _ in generate_many(model, vq, shown, plan.seed, **settings)])
    save_png(out / "samples.png", tile([list(row) for row in to_bytes(grid).cpu().split(COLUMNS)]))
    some = rows_across(label_N, 2 * COLUMNS)
    save_png(out / "reconstructions.png", tile([list(real[some]), list(again[some])]))

    views = projection_views(plan.channels, vq.image_size()) | {"pixels": pixels}
    sets = {"": samples, "_of_reconstructions": again, "_of_training": others}
    found: dict[str, float] = {}
    reference = Pictures(real, label_N, views, real=True)
    for name in ("sw_pixels", "sw_patches"):
        judge = SlicedWasserstein(name)
        against = judge.against(judge.rows(reference))
        found |= {f"{name}{of}": against(judge.rows(Pictures(img, None, views))) for of, img in sets.items()}
    training = Pictures(train.images(rows_across(train.labels, COMPARED)), None, views, real=True)
    memory = Memorising("pixels", training)
    found["memorised"] = memory.score(memory.rows(Pictures(samples, label_N, views)), memory.rows(reference))
    logged = last_logged(str((out / "tokenizer").absolute())) | last_logged(str((out / "model").absolute()))
    kept = ("val_mse", "codes_used", "val_loss", "val_error")
    found |= {name: logged[name] for name in kept if name in logged}
    found["variance_lost"] = found.get("val_mse", 0.0) / max(to_float(real).var().item(), 1e-6)
    return found | {"num": len(rows), "seed": plan.seed}


def summary(scores: dict[str, Any], out: Path) -> list[str]:
    """What came out, and the lines to copy."""
    folder = out / "model"

    def compared(name: str) -> str:
        return (
            f"{scores[name]:.3g}; of pictures trained on {scores[f'{name}_of_training']:.3g}, "
            f"of reconstructions {scores[f'{name}_of_reconstructions']:.3g}"
        )

    return [
        f"pictures: {out / 'samples.png'}; the tokenizer's view of held-out ones: {out / 'reconstructions.png'}",
        f"the tokenizer loses {100 * scores['variance_lost']:.1f} % of the variance of held-out pictures",
        f"distance of {scores['num']} samples to held-out pictures, 0 at best, in shapes: {compared('sw_pixels')}",
        f"in edges and texture: {compared('sw_patches')}",
        "samples nearer to a training picture than its own neighbour is, beyond the share among held-out pictures: "
        f"{scores['memorised']:+.0%}",
        f"model: {folder}, with card.json and README.md",
        f"more pictures: varlite sample --model {folder} --out {out / 'samples'} --grid {out / 'more.png'}",
        "a panel, in a notebook: import varlite; from varlite.checkpoints.cards import class_names; "
        "from varlite.nb.widgets.panel import SamplingPanel; "
        f"SamplingPanel(*varlite.load('{folder}'), class_names('{folder}'))",
    ]
