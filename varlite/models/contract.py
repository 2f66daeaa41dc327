"""What a generative model brings, and the registry that everything else finds it by.

A model is a module that is built from its configuration and has

    forward(x, label_B)                   teacher-forced logits, or what its loss needs
    loss(tokenizer, idx, label_B)         the training loss; labels are dropped here, and in training mode only
    score_tokens(tokenizer, idx, label_B) cross-entropy and error of every token, which validation averages
    sample(tokenizer, label_B, rules, scales)    its own sampling loop, images in [-1, 1]; `rules` make tokens of logits
    flops, weights_by_part, size          what it costs and weighs, from the configuration alone
    abilities                             which of the optional things below it can do

Where it has the ability:

    log_likelihood(tokenizer, idx, label_BM)     of every token of an image under each of M labels, (B, M, L)

A model is registered by one line. Nobody outside `varlite/models/` asks which kind a model is; they ask what it can do.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import nn

from varlite.io.hub_habits import HubHabits
from varlite.scales import Scales

Ability = Literal["cache", "guidance", "editing", "schedules", "likelihood", "published names"]

# How a refusal goes on after "model: NAME ".
LACKS: dict[str, str] = {
    "cache": "has no cache of earlier steps",
    "guidance": "knows no classifier-free guidance",
    "editing": "cannot be edited: no step of its sampling lets kept tokens be put back",
    "schedules": "cannot be used with another schedule of scales than its own",
    "likelihood": "gives no likelihood of its tokens",
    "published names": "has no published checkpoints, and so no published names for its weights",
}


class Model(HubHabits, nn.Module):
    """Base of all models: the abilities, stated by the model and asked for by callers."""

    config: Any
    scales: Scales
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    class_names: list[str] | None = None  # where the file of weights has them


@dataclass(frozen=True)
class Kind:
    """A row of the registry."""

    name: str  # what files of weights call it
    model: type[Any]
    config: type[Any]


KINDS: dict[str, Kind] = {}


def register(name: str, model: type[Any], config: type[Any]) -> None:
    """Make a kind of model known to loading, training, sampling, evaluation, benchmarks and conversion.

    Raises ValueError for a name or a configuration class that another kind has, and for an unknown ability.
    """
    for kind in KINDS.values():
        if (kind.name == name or kind.config is config) and kind.model is not model:
            raise ValueError(f"kind {name!r}: the name or {config.__name__} is taken by {kind.model.__name__}")
    if unknown := set(getattr(model, "abilities", ())) - set(get_args(Ability)):
        raise ValueError(
            f"kind {name!r}: unknown abilities {sorted(unknown)}; there are {', '.join(get_args(Ability))}"
        )
    KINDS[name] = Kind(name, model, config)


def kind_of(thing: Any) -> Kind:
    """The registered kind of a model, a configuration, or a name in a file of weights.

    A subclass counts as the kind that it derives from. Raises ValueError, listing what there is, for anything else.
    """
    if isinstance(thing, str) and thing in KINDS:
        return KINDS[thing]
    classes = type(thing).__mro__
    for cls in classes:
        for kind in KINDS.values():
            if cls in (kind.model, kind.config):
                return kind
    named = repr(thing) if isinstance(thing, str) else type(thing).__name__
    raise ValueError(f"{named} is no registered kind of model; there are: {', '.join(KINDS)}")


def require(model: Model, ability: Ability, name: str = "") -> None:
    """Raises ValueError, in one line, if a model lacks an ability. `name` is what the user calls the model."""
    if ability not in model.abilities:
        raise ValueError(f"model: {name or type(model).__name__} {LACKS[ability]}")
