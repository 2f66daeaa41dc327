"""What zero-shot editing does to scenes whose truth is known: `varlite reproduce still`, for data/results/still.json.

    remove             in-painting: a small object is painted over, and its shadow with it
    extend             out-painting: the left half is known
    swap               class edit: in a box about the main object one of another class is asked for

all three by `refine`, and beside them what one pass of `edit` makes of the same,

    remove in one pass, extend in one pass, swap in one pass
    swap as published  the encoder sees what lies in the box, and the kept pixels are not put back

Scenes are those of the test split, from the first on. Every edit has a wanted scene: without the object, the scene
itself, or with the other one. Two judges: pixels of the wanted scene, rendered; and the reader, who says which factors
of the wanted scene the edit shows. What tokenizer and reader lose is told by reconstructions of the wanted scene.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from varlite.checkpoints.load import load, shipped, weights_file
from varlite.datasets.pixels import to_bytes, to_float
from varlite.datasets.rendering import render
from varlite.datasets.scenes import HELD_OUT, SEEDS, SIDE, Scene, Thing, apart, sample
from varlite.datasets.shapes import CLASSES
from varlite.drawing import image_seeds
from varlite.editing import edit, fill
from varlite.evaluation.classify import wilson_interval
from varlite.evaluation.judges.intervals import t_interval
from varlite.evaluation.judges.truth import NEAR, object_read, within
from varlite.evaluation.reader import GRID, NAME, Reading, load_reader, middle_cell, read
from varlite.evaluation.small_models import reconstruct
from varlite.experiments.still_masks import box, left_half, paint, visible
from varlite.io.files import sha256, write_json
from varlite.io.pictures import save_png, tile
from varlite.io.provenance import command, machine, versions
from varlite.refining import refine
from varlite.sampling import device_of
from varlite.tokenizer import decoder_fingerprint, fingerprint

SHOWN = 6  # of each task in the picture
SHOWN_OF = ("remove", "extend", "swap")
READ = ("kind", "hue", "material", "companions", "count", "wall", "table", "light", "camera", "agrees")
Readings = Callable[[Tensor], list[Reading]]


@dataclass(frozen=True)
class Case:
    """One edit: the picture, bytes, and what is kept of it; the scene that is wanted, and its picture.

    counts: whether the number of objects is known of the edit.
    """

    scene: Scene
    wanted: Scene
    img_3HW: Tensor
    truth_3HW: Tensor
    keep_HW: Tensor
    counts: bool = True

    @property
    def label(self) -> int:
        """The class that is asked for: the main object's of the wanted scene."""
        return CLASSES.index(self.wanted.things[0].kind)

    def known(self) -> list[Thing]:
        """The wanted scene's companions whose middle is kept."""
        cell = SIDE // GRID
        places = [(thing, *middle_cell(self.wanted, thing)) for thing in self.wanted.things[1:]]
        return [thing for thing, i, j in places if self.keep_HW[cell * i + cell // 2, cell * j + cell // 2]]


@dataclass(frozen=True)
class Task:
    """What is done to a scene: (the wanted scene, one that differs from both where there is paint) or None for a scene
    that does not serve; the mask from where pictures differ; how `edit` samples.

    counts: whether the number of objects is known of the edit. pixels: whether every pixel is.
    """

    plan: Callable[[int, Scene], tuple[Scene, Scene] | None]
    mask: Callable[[Tensor], Tensor]
    settings: dict[str, Any]
    counts: bool = True
    pixels: bool = False

    def cases(self, num: int, seed: int = SEEDS["test"]) -> list[Case]:
        """The first `num` scenes of a seed that serve, each with its edit."""
        plans = list(self.plans(num, seed))
        scenes = list(dict.fromkeys(scene for plan in plans for scene in plan))  # each once
        of = dict(zip(scenes, to_bytes(render(scenes)), strict=True))
        return [
            Case(
                scene, wanted, of[scene], of[wanted],
                self.mask(visible(of[scene], of[less]) | visible(of[wanted], of[less])), self.counts,
            )
            for scene, wanted, less in plans
        ]  # fmt: skip

    def plans(self, num: int, seed: int) -> Iterator[tuple[Scene, Scene, Scene]]:
        index = 0
        while num:
            scene = sample(seed, index)
            if (found := self.plan(index, scene)) is not None:
                yield scene, *found
                num -= 1
            index += 1


# What is wanted, and what is painted over


def without_the_last(index: int, scene: Scene) -> tuple[Scene, Scene] | None:
    """The last companion is to go."""
    less = replace(scene, things=scene.things[:-1])
    return (less, less) if len(scene.things) > 1 else None


def as_it_is(index: int, scene: Scene) -> tuple[Scene, Scene]:
    return scene, scene


def with_another_class(index: int, scene: Scene) -> tuple[Scene, Scene] | None:
    """The main object becomes one of another class, in turns, that may have its colour and has room for it."""
    main, *others = scene.things
    turn = index // len(CLASSES) % (len(CLASSES) - 1)
    for i in range(len(CLASSES) - 1):
        new = replace(
            main, kind=CLASSES[(CLASSES.index(main.kind) + 1 + (turn + i) % (len(CLASSES) - 1)) % len(CLASSES)]
        )
        if (new.kind, new.hue) not in HELD_OUT and all(apart(other, new) for other in others):
            return replace(scene, things=(new, *others)), replace(scene, things=(replace(main, x=99.0), *others))
    return None


# Guidance and top-p were chosen on training scenes, by eye and pixels: few codes where nothing new should appear.
BEST: dict[str, Any] = {"hide": True, "paste": True}
REFINED: dict[str, Any] = {"candidates": 8, "cfg": 0.0, "top_p": 0.7}
TASKS = {
    "remove": Task(without_the_last, paint, REFINED, pixels=True),
    "extend": Task(as_it_is, left_half, REFINED, counts=False),
    "swap": Task(with_another_class, box, REFINED),
    "remove in one pass": Task(without_the_last, paint, BEST | {"cfg": 0.0, "top_p": 0.2}, pixels=True),
    "extend in one pass": Task(as_it_is, left_half, BEST | {"cfg": 1.5, "top_p": 0.5}, counts=False),
    "swap in one pass": Task(with_another_class, box, BEST | {"cfg": 4.0}),
    "swap as published": Task(with_another_class, box, {"cfg": 4.0}),
}


def edit_cases(
    model: Any, tokenizer: Any, cases: Sequence[Case], settings: dict[str, Any], seed: int = 0, note: str = ""
) -> Tensor:
    """The edits as bytes (N, 3, H, W), of the class asked for. Edit i depends on the seed, its class and i alone.

    settings: those of `refine` where `candidates` is one of them, otherwise those of `edit`.
    """
    done, device, edit_by = [], device_of(model), refine if "candidates" in settings else edit
    for i, case in enumerate(tqdm(cases, desc=note, mininterval=1, delay=3, disable=not note)):
        seeds = image_seeds(seed, torch.tensor([case.label]), torch.tensor([i]))
        img_13HW = to_float(case.img_3HW[None].to(device))
        done.append(edit_by(model, tokenizer, img_13HW, case.keep_HW, [case.label], seeds=seeds, **settings))
    return to_bytes(torch.cat(done)).cpu()


# Judged by the reader


def marks(case: Case, reading: Reading) -> dict[str, bool]:
    """Which factors of the wanted scene were read, of those that are known of the edit.

    kind, hue, material: the main object's. companions: each whose middle is kept has a small object of its kind and
    hue near its place; a picture without any is not counted. light, camera: within the tolerances of judges/truth.py.
    """
    wanted, seen, companions = case.wanted, reading.scene, case.known()
    main = object_read(wanted.things[0], seen.things[0] if seen.things else None)
    found = {name: bool(main[name]) for name in ("kind", "hue", "material")}
    if companions:
        found["companions"] = all(any(same(one, other) for other in seen.things[1:]) for one in companions)
    if case.counts and len(companions) == len(wanted.things) - 1:
        found["count"] = len(seen.things) == len(wanted.things)
    found |= {name: getattr(wanted, name) == getattr(seen, name) for name in ("wall", "table")}
    pairs = zip(("azimuth", "elevation"), wanted.light, seen.light, strict=True)
    found["light"] = all(within(name, a, b) for name, a, b in pairs)
    return found | {"camera": bool(within("camera", wanted.camera, seen.camera)), "agrees": reading.agrees}


def same(a: Thing, b: Thing) -> bool:
    """Whether an object that was read is that of the scene, by kind, hue and place."""
    return (a.kind, a.hue) == (b.kind, b.hue) and (a.x - b.x) ** 2 + (a.y - b.y) ** 2 < NEAR**2


def shares(cases: Sequence[Case], readings: Sequence[Reading]) -> dict[str, dict[str, Any]]:
    """Of each factor: share of the pictures that show it, its 95 % interval, and of how many pictures.

    all: every factor that is known of an edit.
    """
    rows = [found | {"all": all(found.values())} for found in map(marks, cases, readings)]
    known = {name: [row[name] for row in rows if name in row] for name in (*READ, "all")}
    return {name: share_of(values) for name, values in known.items() if values}


def share_of(values: Sequence[bool]) -> dict[str, Any]:
    interval = [round(end, 4) for end in wilson_interval(sum(values), len(values))]
    return {"share": round(sum(values) / len(values), 4), "interval": interval, "num": len(values)}


# Judged by pixels


def errors(images_N3HW: Tensor, cases: Sequence[Case]) -> Tensor:
    """(N,) root mean square of what the repainted pixels, in [0, 1], differ by from the wanted scene's."""
    pairs = zip(images_N3HW, cases, strict=True)
    found = [(img.float() - case.truth_3HW.float())[:, ~case.keep_HW].square().mean().sqrt() for img, case in pairs]
    return torch.stack(found) / 255


def filled(cases: Sequence[Case]) -> Tensor:
    """The pictures with what is painted over continued smoothly from around it, without a model: what `hide` does."""
    pictures = torch.cat([fill(to_float(case.img_3HW[None]), case.keep_HW) for case in cases])
    return to_bytes((pictures + 1) / 2)


def judge(cases: Sequence[Case], tokenizer: Any, edits: Tensor, readings: Readings) -> dict[str, Any]:
    """Shares of edits of which each factor is read, and what they are to be held against.

    ceiling: reconstructions of the wanted scenes. untouched: reconstructions of the scenes before the edit.
    """
    images, truths = stacked(cases)
    sets = {"edits": edits, "ceiling": reconstruct(tokenizer, truths), "untouched": reconstruct(tokenizer, images)}
    return {"num": len(cases), "read": {name: shares(cases, readings(img)) for name, img in sets.items()}}


def judge_pixels(cases: Sequence[Case], tokenizer: Any, edits: Tensor) -> dict[str, Any]:
    """`errors` of edits, of reconstructions of the wanted scenes, of the pictures left as they are and of the smooth
    fill: the mean and its 95 % interval. nearer: share of edits nearer to the wanted scene than the picture left as
    it is."""
    images, truths = stacked(cases)
    sets = {"edits": edits, "ceiling": reconstruct(tokenizer, truths), "left in": images, "smooth fill": filled(cases)}
    error_N = {name: errors(img, cases) for name, img in sets.items()}
    rms = {name: [round(x, 5) for x in t_interval(found.tolist())] for name, found in error_N.items()}
    return {"rms": rms, "nearer": share_of((error_N["edits"] < error_N["left in"]).tolist())}


def stacked(cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
    """The pictures before, and of the wanted scenes, bytes (N, 3, H, W) each."""
    return torch.stack([case.img_3HW for case in cases]), torch.stack([case.truth_3HW for case in cases])


# The experiment


def reproduce_still(
    out: Path, num: int = 150, seed: int = 0, model: str = "still-var-d6", device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Edit `num` test scenes in each way and judge them; written to `out`/still.json, with a picture beside it.

    Raises FileNotFoundError, before any work, for weights that are not there, ValueError for fewer than two scenes.
    """
    if num < 2:
        raise ValueError(f"num must be at least 2, since intervals are given, got {num}")
    readings: Readings = partial(read, load_reader(shipped(NAME)))
    transformer, tokenizer = load(model, device=device)
    record: dict[str, Any] = {"model": model, "num": num, "seed": seed, "tasks": {}}
    record |= {"weights_sha256": sha256(weights_file(model)), "reader_sha256": sha256(shipped(NAME))}
    record |= {"tokenizer_sha256": fingerprint(tokenizer), "decoder_sha256": decoder_fingerprint(tokenizer)}
    edits = {}
    for name, task in TASKS.items():
        cases = task.cases(num)
        edits[name] = edit_cases(transformer, tokenizer, cases, task.settings, seed, name)
        found = {"settings": task.settings} | judge(cases, tokenizer, edits[name], readings)
        record["tasks"][name] = found | (judge_pixels(cases, tokenizer, edits[name]) if task.pixels else {})
    record |= {"command": command("reproduce still", num=num, seed=seed, model=model)}
    record |= {"machine": machine(), "versions": versions()}
    write_json(out / "still.json", record)
    rows = [strips(TASKS[name].cases(min(num, SHOWN)), edits[f"{name} in one pass"], edits[name]) for name in SHOWN_OF]
    save_png(out / "still_edits.png", tile([row for strip in rows for row in strip]))
    return record


def strips(cases: Sequence[Case], *edits: Tensor) -> list[list[Tensor]]:
    """Rows of pictures, a column a case: before, painted over, edited in each of some ways, wanted."""
    before, truths = map(list, stacked(cases))
    return [before, [veiled(case) for case in cases], *(list(img[: len(cases)]) for img in edits), truths]


def veiled(case: Case) -> Tensor:
    veil = torch.tensor([255, 127, 14])[:, None, None]  # orange
    return torch.where(case.keep_HW, case.img_3HW, (0.4 * case.img_3HW + 0.6 * veil).to(torch.uint8))


def report(record: dict[str, Any]) -> None:
    """Print, of each task, pixels and the share of pictures that show each factor."""
    for name, task in record["tasks"].items():
        print(f"{name}, {task['num']} pictures")
        if "rms" in task:
            rms = ", ".join(f"{row} {mean:.3f}" for row, (mean, _, _) in task["rms"].items())
            print(f"  nearer to the truth than before {task['nearer']['share']:.0%}; pixels off by {rms}")
        print(f"  {'':12s}{'edits':>22s}{'ceiling':>10s}{'untouched':>11s}")
        for factor, found in task["read"]["edits"].items():
            low, high = found["interval"]
            others = (task["read"][row][factor]["share"] for row in ("ceiling", "untouched"))
            shown = f"{found['share']:.0%} ({low:.0%} .. {high:.0%})"
            print("  {:12s}{:>22s}{:>10.0%}{:>11.0%}  of {}".format(factor, shown, *others, found["num"]))
