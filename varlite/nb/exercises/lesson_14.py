"""The exercises of notebook 14, a variant of your own."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from varlite.checkpoints.load import load_tokenizer
from varlite.models import KINDS, Model
from varlite.nb.competition import build
from varlite.nb.exercises import NotTried, Off, function, kind, number, tensor
from varlite.nb.plots import scale_names
from varlite.sampling import generate
from varlite.tokenizer import VQVAE

STEPS, SLOWER = 400, 1.25
LABELS = torch.tensor([1, 8])
MUCH = 0.15  # more weights than VAR, from which on they may be what helps
NEGLIGIBLE = 1e-6  # of the spread of the logits, in double precision


def exercise_1(fair_steps: Any) -> str:
    """Steps at equal time."""
    right = STEPS / SLOWER
    number(fair_steps, right, 0.5, {
        STEPS * SLOWER: "That is the other way round: the slower model gets fewer steps.",
        STEPS * (2 - SLOWER): "A step that takes a quarter longer does not mean a quarter fewer steps.",
        STEPS: "Those are equal steps, and not equal time.",
    })  # fmt: skip
    return "Say beside every comparison which of the two was equal. In the papers' tables often neither is."


LENGTHS = (1, 4, 9)


def maps_apart(conv: nn.Module, x_BlC: torch.Tensor, lengths: tuple[int, ...], turned: bool = False) -> torch.Tensor:
    """The convolution over each map on its own."""
    found = []
    for part in x_BlC.split(lengths, 1):
        side = round(part.shape[1] ** 0.5)
        map_BChw = part.mT.unflatten(2, (side, side))
        found.append(conv(map_BChw.mT).mT if turned else conv(map_BChw))
    return torch.cat([map_BChw.flatten(2).mT for map_BChw in found], 1)


def exercise_2(mix: Any) -> str:
    """A convolution that keeps the maps apart."""
    call, numbers = function(mix), torch.Generator().manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=6).double()
    x_BlC = torch.randn(2, sum(LENGTHS), 6, generator=numbers).double()
    with torch.no_grad():
        found, right = call(conv, x_BlC, LENGTHS), maps_apart(conv, x_BlC, LENGTHS)
        if not isinstance(found, torch.Tensor) or found.shape != right.shape:
            raise Off(f"This should have the shape of its input, {tuple(right.shape)}, and is {kind(found)}.")
        for k in range(1, len(LENGTHS)):
            start, end = sum(LENGTHS[:k]), sum(LENGTHS[: k + 1])
            changed = x_BlC.clone()
            changed[:, start:end] += 1
            if (call(conv, changed, LENGTHS)[:, :start] != found[:, :start]).any():
                side = round(LENGTHS[k] ** 0.5)
                raise Off(f"It leaks: something before the map of {side} x {side} changes when this map is changed.")
        if torch.allclose(found, maps_apart(conv, x_BlC, LENGTHS, turned=True)) and not torch.allclose(found, right):
            raise Off("Nothing leaks, but rows and columns are exchanged.")
        wrong = ["1 x 1", "2 x 2", "3 x 3"]
        parts = zip(wrong, found.split(LENGTHS, 1), right.split(LENGTHS, 1), strict=True)
        wrong = [name for name, mine, theirs in parts if not torch.allclose(mine, theirs)]
        if wrong:
            raise Off(f"Nothing leaks. But not every token is mixed with its neighbours: look at {', '.join(wrong)}.")
        tensor(call(conv, x_BlC[:, 5:], LENGTHS[2:]), right[:, 5:], 1e-9, "Of the last map alone, the result")
    return "No map hears of another. In sampling, where a step has one map, the same function serves."


def exercise_3(nearer: Any) -> str:
    """The panel's rule between two sets."""
    call = function(nearer)
    cases: list[tuple[list, list, int, str]] = [
        (
            [(9.0, 1.0), (2.0, 1.0)],
            [(20.0, 1.0), (1.0, 1.0)],
            1,
            "The worst judges differ by more than their noise.",
        ),
        ([(30.0, 2.0), (1.0, 0.1)], [(22.0, 2.0), (21.0, 0.1)], -1, "It is not the mean that counts, but the worst."),
        ([(21.0, 3.0), (4.0, 1.0)], [(20.0, 3.0), (12.0, 1.0)], 1, "The worst cannot tell them apart; the next can."),
        ([(17.0, 3.0), (9.0, 0.5)], [(20.0, 3.0), (6.0, 0.5)], -1, "The worst cannot tell them apart; the next can."),
        ([(20.0, 3.0), (4.0, 1.0)], [(22.0, 3.0), (5.0, 1.0)], 0, "No judge can tell them apart."),
        ([(10.0, 2.0)], [(13.5, 2.0)], 1, "Two halves are added as the sides of a right angle: their hypotenuse."),
    ]
    for mine, plain, right, why in cases:
        found = call(mine, plain)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise Off(f"This should be 1, -1 or 0, and is {kind(found)}.")
        if found != right:
            raise Off(f"nearer({mine}, {plain}) returns {found:g}. {why}")
    return "This is `duel` of the package's verdict. It was fixed before your variant was thought of, and that matters."


# The capstone: what a variant is held to


@cache
def shipped() -> VQVAE:
    return load_tokenizer("fashion-vq").double()


def safely(what: str, call: Callable[[], Any]) -> Any:
    """The result of `call`; what it raises becomes what is off."""
    try:
        return call()
    except NotImplementedError as error:
        raise Off(f"{what} asked for a method that your class does not have. {error}".strip()) from error
    except Exception as error:
        raise Off(f"{what} raised {type(error).__name__}: {error}") from error


def made(name: str) -> Model:
    """A small model of a kind whose every weight matters, in double precision: gates open, no vector zero or one."""
    model = build(name, shipped()).double().eval()
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=numbers, dtype=torch.double))
    return model


def some_tokens() -> list[torch.Tensor]:
    numbers, c = torch.Generator().manual_seed(2), shipped().config
    return [torch.randint(c.vocab, (2, length), generator=numbers) for length in shipped().scales.lengths]


def leaks(model: Any, x_BLZ: torch.Tensor, logits_BLV: torch.Tensor) -> list[tuple[int, int]]:
    """(j, k): predictions of map k, coarser than j, that change with the input of map j."""
    spans, found = model.spans(model.scales), []
    first = spans[0][1]
    for j, (start, end) in enumerate(spans[1:], 1):
        changed = x_BLZ.clone()
        changed[:, start - first : end - first] += 1
        differ_L = (model(changed, LABELS) != logits_BLV).any(-1).any(0)
        found += [(j, k) for k in range(j) if differ_L[slice(*spans[k])].any()]
        if not differ_L[start:end].any():
            name = scale_names(model.scales)[j]
            raise Off(f"The predictions of the {name} map do not depend on the picture so far, which is their input.")
    return found


def drift(model: Any, x_BLZ: torch.Tensor, logits_BLV: torch.Tensor) -> list[float]:
    """How far the logits of each step with a cache are from teacher-forced ones, relative to their spread."""
    spans, cache = model.spans(model.scales), model.make_cache()
    lengths = [end - start for start, end in spans]
    parts = [None, *x_BLZ.split(lengths[1:], 1)]
    steps = [model.step(part, LABELS, k, cache) for k, part in enumerate(parts)]
    off = [(step - logits_BLV[:, slice(*span)]).abs().max() for step, span in zip(steps, spans, strict=True)]
    return [(x / logits_BLV.std()).item() for x in off]


def is_plain(model: Model, idx: list[torch.Tensor]) -> bool:
    """Whether a model computes what VAR computes with the same weights."""
    plain, weights = made("var"), model.state_dict()
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in plain.state_dict().items()}:
        return False
    plain.load_state_dict(weights)
    own = [type(model).__dict__.get("sample"), type(model).__dict__.get("step")]
    losses = [m.loss(shipped(), idx, LABELS, torch.ones(2, 1)).item() for m in (model, plain)]
    return losses[0] == losses[1] and own == [None, None] and not differs(model, plain, idx)


def differs(model: Any, plain: Any, idx: list[torch.Tensor]) -> bool:
    x_BLZ = plain.inputs(shipped(), idx)
    return not torch.equal(model(x_BLZ, LABELS), plain(x_BLZ, LABELS))


def without_gradient(model: Model, idx: list[torch.Tensor]) -> list[str]:
    """Weights that the training loss does not reach."""
    model.train().loss(shipped(), idx, LABELS, torch.ones(2, 1)).backward()
    model.eval()
    return [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]


def exercise_4(variant: Any) -> str:
    """The contract of a variant that predicts scale after scale."""
    if variant is None:
        raise NotTried
    if not isinstance(variant, type):
        raise Off(f"This should be the class of your model, and is {kind(variant)}.")
    names = [name for name, found in KINDS.items() if found.model is variant]
    if not names:
        raise Off(f"{variant.__name__} is not registered: the file ends in `register(name, class, configuration)`.")
    model: Any = safely("Building it", lambda: made(names[0]))
    if "cache" not in model.abilities:
        raise Off("Its abilities lack `cache`: this exercise is about models that predict scale after scale.")
    idx, scales = some_tokens(), scale_names(model.scales)
    x_BLZ = safely("Its `inputs`", lambda: model.inputs(shipped(), idx))
    with torch.no_grad():
        logits_BLV = safely("A teacher-forced pass", lambda: model(x_BLZ, LABELS))
        if safely("Its loss", lambda: is_plain(model, idx)):
            raise Off("With the same weights it computes what VAR computes. Where does your idea come in?")
        if found := safely("A pass with changed inputs", lambda: leaks(model, x_BLZ, logits_BLV)):
            j, k = found[-1]
            raise Off(
                f"It leaks: change the input of the {scales[j]} map, and the predictions of {scales[k]} change. "
                f"({len(found)} of {len(scales) * (len(scales) - 1) // 2} pairs of maps leak.)"
            )
        apart = safely("Sampling step by step", lambda: drift(model, x_BLZ, logits_BLV))
    if max(apart) > NEGLIGIBLE:
        k = next(k for k, x in enumerate(apart) if x > NEGLIGIBLE)
        good = f"Up to {scales[k - 1]} all is well. " if k else ""
        raise Off(
            f"Nothing leaks. {good}But with a cache the logits of the {scales[k]} map are off, by {apart[k]:.2g} of "
            "their spread: what is trained is not what is sampled from."
        )
    if dead := safely("A step of training", lambda: without_gradient(model, idx)):
        raise Off(f"It samples as it was trained. But no gradient reaches {dead[0]} ({len(dead)} weights in all).")
    safely("Sampling", lambda: generate(model, shipped(), LABELS, seeds=0))
    more = sum(w.numel() for w in model.parameters()) / sum(w.numel() for w in made("var").parameters()) - 1
    remark = " If it wins, is it the idea or the weights?" if more > MUCH else " Now let the judges see it."
    return f"Nothing leaks, and it samples as it is trained, with {more:+.0%} weights beside VAR.{remark}"
