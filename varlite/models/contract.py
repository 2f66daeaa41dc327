"""What a generative model brings, and the registry that everything else finds it by.

A model is a module that is built from its configuration and has

    learns                                what of an image it is given in training: its tokens, or its latents
    forward(x, label_B)                   teacher-forced logits, or what its loss needs
    loss(tokenizer, example, label_B, chance_Bn)    the training loss; labels are dropped here, in training mode only
    score(tokenizer, example, label_B)    held-out figures of every image, which validation averages
    sample(tokenizer, label_B, rules, scales)    its own sampling loop, images in [-1, 1]; `rules` make tokens of logits
    flops, evaluations, weights_by_part, size    what it costs and weighs, from the configuration alone
    dials                                 which entries of its configuration matter to sampling alone
    abilities                             which of the optional things below it can do

Where it has the ability:

    log_likelihood(tokenizer, idx, label_BM)     of every token of an image under each of M labels, (B, M, L)

A model is registered by one line. Nobody outside `varlite/models/` asks which kind a model is; they ask what it can do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import torch
from torch import nn

from varlite.io.hub_habits import HubHabits
from varlite.io.records import read_record
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

Ability = Literal["cache", "guidance", "logits", "smooth", "editing", "schedules", "likelihood", "published names"]
Learns = Literal["tokens", "latents"]

# How a refusal goes on after "model: NAME ".
LACKS: dict[str, str] = {
    "cache": "has no cache of earlier steps",
    "guidance": "knows no classifier-free guidance",
    "logits": "draws no codes, and so has no logits to change",
    "smooth": "cannot pass on mixtures of codes: leave out smooth",
    "editing": "cannot be edited: no step of its sampling lets kept tokens be put back",
    "schedules": "cannot be used with another schedule of scales than its own",
    "likelihood": "gives no likelihood of its tokens",
    "published names": "has no published checkpoints, and so no published names for its weights",
}


class Model(HubHabits, nn.Module):
    """Base of all models: what a model states about itself, and what most have in common.

    An example is what `learns` names, for a batch: token maps [idx_Bl], or the encoder's output f_BZhw. The loss is a
    function of its arguments: `chance_Bn` holds the random numbers that it uses, n for each image, so that it is the
    same after a resumption, and however many processes share the batch. Drop-path alone draws from torch's generator.
    """

    config: Any
    scales: Scales
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    learns: ClassVar[Learns] = "tokens"
    dials: ClassVar[tuple[str, ...]] = ()
    chances: int = 1  # random numbers in [0, 1) that the loss takes for an image; the first may drop its label
    class_names: list[str] | None = None  # where the file of weights has them

    @classmethod
    def scales_of(cls, config: Any) -> Scales:
        """The schedule of sampling: the tokenizer's, where a model has none of its own."""
        return Scales.of(config.scales)

    def measure(self, f_BZhw: torch.Tensor) -> None:
        """Look at some thousand latents of the training set, once, before the first step from random weights.

        What is found is kept in buffers, so that it is a part of the weights. A model of tokens is not asked.
        """

    def score(self, tokenizer: VQVAE, example: Any, label_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Figures of each image, (B,) each, the same at every call; no label is dropped. "loss" is one of them.

        Here, of a model of tokens: cross-entropy and the share of tokens whose likeliest code is wrong, over all tokens
        and over those of the last scale, from the model's `score_tokens`.
        """
        loss_BL, error_BL = self.score_tokens(tokenizer, example, label_B)
        start = self.scales.spans[-1][0]
        figures = {
            "loss": loss_BL,
            "loss_last": loss_BL[:, start:],
            "error": error_BL,
            "error_last": error_BL[:, start:],
        }
        return {name: x_Bl.mean(1) for name, x_Bl in figures.items()}


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


def set_dials(model: Model, dials: Mapping[str, Any] | Iterable[str]) -> None:
    """Give entries of a model's configuration that matter to sampling alone other values, in place; costs follow.

    dials: {"steps": 4}, or as in a command line ["steps=4"]. Raises ValueError for an entry that is no dial of this
    model, and for a value of another type or out of range.
    """
    kinds, given = get_type_hints(type(model.config)), {}
    for name, value in dials.items() if isinstance(dials, Mapping) else (text.partition("=")[::2] for text in dials):
        if name not in model.dials:
            there = ", ".join(model.dials) or "none"
            raise ValueError(f"dials: {type(model).__name__} has no dial {name!r}; there are: {there}")
        given[name] = value if isinstance(dials, Mapping) else _parsed(value, kinds[name])
    if given:
        model.config = read_record(type(model.config), vars(model.config) | given, "dials")
        model.scales = model.scales_of(model.config)


def _parsed(text: str, kind: Any) -> Any:
    """`text` as a number or, cut at its commas, a list; what is none stays as it is, and is refused for its type."""
    try:
        if kind is list:
            return [int(part) for part in text.split(",")]
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text
