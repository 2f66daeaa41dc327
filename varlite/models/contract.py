"""What a generative model brings, and the registry that everything else finds it by.

A model is a module that is built from its configuration and has

    forward(x, label_B)                   teacher-forced logits, or what its loss needs
    loss(tokenizer, idx, label_B)         the training loss; labels are dropped here, and in training mode only
    sample(tokenizer, label_B, rules)     its own sampling loop: images in [-1, 1]; `rules` say how logits become tokens
    flops(config, what)                   what sampling and training cost, from the configuration alone
    abilities                             which of the optional things below it can do

and is registered by one line. Nobody outside `varlite/models/` asks which kind a model is; they ask what it can do.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import nn

Ability = Literal["cache", "guidance", "editing", "schedules", "published names"]

# How a refusal goes on after "model: NAME is a KIND model, which".
LACKS: dict[str, str] = {
    "cache": "has no cache of earlier steps",
    "guidance": "knows no classifier-free guidance",
    "editing": "cannot be edited: no step of its sampling lets kept tokens be put back",
    "schedules": "cannot be used with another schedule of scales than its own",
    "published names": "has no published checkpoints, and so no published names for its weights",
}


class Model(nn.Module):
    """Base of all models: the abilities, stated by the model and asked for by callers."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()


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
        raise ValueError(f"kind {name!r}: unknown abilities {sorted(unknown)}; there are {', '.join(get_args(Ability))}")
    KINDS[name] = Kind(name, model, config)


def kind_of(thing: Any) -> Kind:
    """The registered kind of a model, a configuration or the name in a file of weights.

    Raises ValueError, listing what there is, for anything else.
    """
    for kind in KINDS.values():
        if thing == kind.name or type(thing) in (kind.model, kind.config):
            return kind
    named = thing if isinstance(thing, str) else type(thing).__name__
    raise ValueError(f"{named!r} is no registered kind of model; there are: {', '.join(KINDS)}")


def require(model: Any, ability: Ability, name: str = "") -> None:
    """Raises ValueError in one line if the model, or the kind of a configuration, lacks an ability."""
    kind = kind_of(model) if type(model) in {c for k in KINDS.values() for c in (k.model, k.config)} else None
    able = kind.model.abilities if kind else type(model).abilities
    if ability not in able:
        what = f"{name} is a {kind.name} model, which" if kind and name else f"a {kind.name if kind else type(model).__name__} model"
        raise ValueError(f"model: {what} {LACKS[ability]}")
