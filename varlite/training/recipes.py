"""Recipes with other entries than their preset's, and the schedules of the learning rate."""

import math
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from varlite.presets import Range
from varlite.training.options import Options


def override(recipe: Any, options: Options) -> Any:
    """`recipe` with the entries that `options` gives in place of its own.

    Raises ValueError for an entry that does not exist or is given twice, or a value of the wrong type or out of range.
    """
    kinds = get_type_hints(type(recipe), include_extras=True)
    given = {n: getattr(options, n) for n in ("steps", "batch", "lr") if getattr(options, n) is not None}
    for text in options.recipe:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ValueError(f"recipe: there is no entry {name!r}; there are: {', '.join(kinds)}")
        if name in given:
            raise ValueError(f"recipe: {name} is given twice, {given[name]} and {value}")
        given[name] = parse(name, value, kinds[name])
    recipe = replace(recipe, **given)
    check(recipe)
    return recipe


def parse(name: str, text: str, kind: Any) -> Any:
    """The value of a recipe's entry of type `kind`: a number, several, true or false, or one of several words."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    words: Any = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else None
    if words is not None:
        if text not in words:
            raise ValueError(f"recipe: {name} must be one of {', '.join(words)}, got {text!r}")
        return text == "true" if kind is bool else text
    try:
        return tuple(float(x) for x in text.split(",")) if get_origin(kind) is tuple else kind(text)
    except ValueError:
        wanted = "numbers separated by commas" if get_origin(kind) is tuple else f"of type {kind.__name__}"
        raise ValueError(f"recipe: {name} must be {wanted}, got {text!r}") from None


def check(recipe: Any) -> None:
    """Raises ValueError for the first entry that lies outside the range that the recipe's class declares for it."""
    for name, kind in get_type_hints(type(recipe), include_extras=True).items():
        value = getattr(recipe, name)
        kinds, values = ((kind,), (value,)) if get_origin(kind) is not tuple else (get_args(kind), value)
        if len(kinds) != len(values):
            raise ValueError(f"{name} must be {len(kinds)} numbers, got {len(values)}")
        for one, number in zip(kinds, values, strict=True):
            if get_origin(one) is Annotated:
                check_range(name, number, get_args(one)[1])


def check_range(name: str, number: float, allowed: Range) -> None:
    low, high, is_open = allowed
    if (low < number if is_open else low <= number) and number < high:
        return
    if math.isfinite(high):
        wanted = f"{low} or more and less than {high}"
    else:
        wanted = "positive" if is_open or low == 1 else f"{low} or more"
    raise ValueError(f"{name} must be {wanted}, got {number}")


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at `step` of `steps`: linear up over `warmup`, then a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def warmup_linear(step: int, steps: int, warmup: int, final: float) -> float:
    """The papers' factor: from 0.005 up over `warmup`, flat for a twentieth of the rest, then linear to `final`."""
    if step < warmup:
        return 0.005 + 0.995 * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 1.0 if progress < 0.05 else 1 - (1 - final) * (progress - 0.05) / 0.95
