"""The judge from truth: still life has known factors, so that a picture can be held against the scene it shows.

    reader = load_reader()                            reads every factor off a picture (evaluation/reader.py)
    limit = coherence_limit(reader, real)             how far real pictures are from their readings, rendered again
    judge_samples(reader, images, labels, limit)      shares of samples that show their class, that are coherent, ...

A sample is coherent when its readings agree with each other (one main object, the count, its kind: each is read in two
ways) and with the picture: the scene that was read is rendered, and lies no further from the sample than 95 % of real
pictures do from theirs.

Sees: another object than the one asked for, torn shapes, wrong shadows, colours that run, objects that melt together.
Fooled by: copies of training pictures, of which it knows nothing. Lack of diversity, of which `variety` alone tells:
one good picture repeated is otherwise perfect. Faults smaller than what the real pictures' limit allows for.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import count, islice

import torch
import torch.nn.functional as F

from varlite.datasets.rendering import render
from varlite.datasets.scenes import HELD_OUT, Scene, Thing, sample
from varlite.datasets.shapes import CLASSES
from varlite.evaluation.reader import TURNABLE, WORDS, Reader, Reading, read

HELD_OUT_SEED = 2  # neither split's
NEAR = 0.5  # an object that is read belongs to the nearest true one within this way on the table
# Numbers count as read within these: a quarter of their range or less, for the size of small objects two fifths.
TOLERANCE = {"azimuth": 15.0, "elevation": 5.0, "camera": 3.0, "size": 0.05, "turn": 10.0, "place": 0.15}


def held_out_indices(seed: int, n: int) -> list[int]:
    """The first `n` indices whose scene, drawn without the rule, has an object of a held-out (class, hue)."""
    held = (i for i in count() if any((thing.kind, thing.hue) in HELD_OUT for thing in sample(seed, i, ()).things))
    return list(islice(held, n))


def within(name: str, a: float, b: float) -> float:
    return float(abs(a - b) <= TOLERANCE[name])


def object_read(true: Thing, found: Thing | None) -> dict[str, float]:
    """One or zero for each factor of an object; an object that was not found has none right."""
    names = ["kind", "hue", "material"]
    if found is None:
        return dict.fromkeys([*names, "place", "size"] + ["turn"] * (true.kind in TURNABLE), 0.0)
    right = {name: float(getattr(true, name) == getattr(found, name)) for name in names}
    right |= {"place": within("place", true.x, found.x) * within("place", true.y, found.y)}
    right |= {"size": within("size", true.size, found.size)}
    return right | ({"turn": within("turn", true.turn, found.turn)} if true.kind in TURNABLE else {})


def shares_read(scenes: Sequence[Scene], readings: Sequence[Reading]) -> dict[str, float]:
    """Share of pictures, or of small objects, of which each factor is read rightly.

    Without a prefix it is the main object's; "small_" says the others'. Numbers count as right within `TOLERANCE`.
    agrees: share whose two ways of reading agree.
    """
    marks: dict[str, list[float]] = {}
    for scene, reading in zip(scenes, readings, strict=True):
        seen = reading.scene
        right = {"count": float(len(scene.things) == len(seen.things)), "agrees": float(reading.agrees)}
        right |= {name: float(getattr(scene, name) == getattr(seen, name)) for name in ("wall", "table")}
        right |= {
            name: within(name, a, b)
            for name, a, b in zip(("azimuth", "elevation"), scene.light, seen.light, strict=True)
        }
        right |= {"camera": within("camera", scene.camera, seen.camera)}
        for i, thing in enumerate(scene.things):
            ways = {other: (other.x - thing.x) ** 2 + (other.y - thing.y) ** 2 for other in seen.things}
            nearest = min(ways, key=lambda other: ways[other], default=None)
            found = nearest if nearest is not None and ways[nearest] < NEAR**2 else None
            for name, value in object_read(thing, found).items():
                marks.setdefault(f"small_{name}" if i else name, []).append(value)
        for name, value in right.items():
            marks.setdefault(name, []).append(value)
    return {name: round(sum(values) / len(values), 4) for name, values in marks.items()}


def distances(images_N3HW: torch.Tensor, readings: Sequence[Reading]) -> torch.Tensor:
    """How far each picture, bytes, is from its reading rendered again; infinity where the readings disagree.

    Root of the mean square of what pixels in [0, 1] differ by, means of 2 x 2 pixels being compared, in the worst of
    the windows of 16 x 16 pixels, 8 apart: a fault weighs as much in a small object as in a large one.
    """
    found = torch.full((len(images_N3HW),), torch.inf)
    rows = [i for i, reading in enumerate(readings) if reading.agrees]
    if not rows:
        return found
    again = render([readings[i].scene for i in rows])
    halved = F.avg_pool2d(images_N3HW[rows].float() / 255 - again, 2)
    found[rows] = F.avg_pool2d(halved.square().mean(1, keepdim=True), 8, 4).amax((1, 2, 3)).sqrt()
    return found


def coherence_limit(reader: Reader, real_N3HW: torch.Tensor, share: float = 0.95) -> float:
    """The distance within which `share` of real pictures lie, bytes: scenes as rendered, or reconstructions of them.

    Raises ValueError where fewer pictures than that can be read at all.
    """
    distance_N = distances(real_N3HW, read(reader, real_N3HW))
    limit = distance_N.sort().values[math.ceil(share * len(distance_N)) - 1].item()
    if math.isinf(limit):
        raise ValueError(f"real: less than {share:.0%} of the {len(real_N3HW)} pictures can be read as one scene each")
    return limit


def judge_samples(reader: Reader, images_N3HW: torch.Tensor, label_N: torch.Tensor, limit: float) -> dict[str, float]:
    """Shares of samples, bytes, that

    shows_class     have a main object of the class asked for
    agrees          are read alike in both ways
    coherent        and lie within `limit` of their reading rendered again
    good            and show the class asked for
    held_out        of those good samples of the five classes concerned, show the combination that training never had:
                    one in nine if colours were drawn without that rule, and for a model that copies none

    and their `variety`.
    """
    if len(images_N3HW) != len(label_N):
        raise ValueError(f"labels must be one for each of the {len(images_N3HW)} images, got {len(label_N)}")
    readings = read(reader, images_N3HW)
    mains = [reading.scene.things[0] if reading.scene.things else None for reading in readings]
    shows = torch.tensor([main is not None and main.kind == CLASSES[c] for main, c in zip(mains, label_N, strict=True)])
    coherent = distances(images_N3HW, readings) <= limit
    good = shows & coherent
    kinds = {kind for kind, _ in HELD_OUT}
    concerned = [(main.kind, main.hue) in HELD_OUT for main, fine in zip(mains, good, strict=True)
                 if fine and main is not None and main.kind in kinds]  # fmt: skip
    agrees = torch.tensor([reading.agrees for reading in readings])
    found = {"shows_class": shows, "agrees": agrees, "coherent": coherent, "good": good}
    shares = {name: share.float().mean().item() for name, share in found.items()}
    held_out = sum(concerned) / len(concerned) if concerned else 0.0
    return shares | {"held_out": held_out, "variety": variety(readings)}


def variety(readings: Sequence[Reading]) -> float:
    """How evenly pictures use what scenes may have: the entropy of hue and material of the main object, count, wall and
    table, each over that of even use, averaged. 1 for scenes of the world, 0 for one picture repeated."""
    scenes = [reading.scene for reading in readings if reading.scene.things]
    factors = [(thing.hue, thing.material, str(min(3, len(scene.things))), scene.wall, scene.table)
               for scene in scenes for thing in scene.things[:1]]  # fmt: skip
    found = []
    for name, values in zip(("hue", "material", "count", "wall", "table"), zip(*factors, strict=True), strict=False):
        shares = [n / len(values) for n in Counter(values).values()]
        found.append(-sum(share * math.log(share) for share in shares) / math.log(len(WORDS[name])))
    return sum(found) / len(found) if found else 0.0
