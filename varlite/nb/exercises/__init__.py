"""Exercises: `check("03.2", attempt)` says what is off about an attempt, and never the answer.

The exercises of a notebook are in `lesson_NN.py`: a function `exercise_N(attempt)` for each, which raises `Off` with a
sentence for the reader, or returns one to go with "right". Below is what such functions are made of.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from numbers import Real
from typing import Any

import torch

NOT_TRIED = "not tried yet. Put your attempt in place of the ... above, and run both cells."


class Off(Exception):
    """What is off about an attempt, as a sentence for the reader."""


class NotTried(Exception):
    """Where an attempt belongs there is still `...`."""


def check(name: str, attempt: Any) -> None:
    """Print whether `attempt` solves exercise `name`, such as "03.2", and if not what is off.

    Raises ValueError for an exercise that there is not.
    """
    print(f"{name}: {verdict(name, attempt)}")


def verdict(name: str, attempt: Any) -> str:
    """What `check` prints: "right. ...", "not yet. ..." or "not tried yet. ..."."""
    judge = find(name)
    try:
        if untouched(attempt):
            raise NotTried
        return f"right. {judge(attempt) or ''}".rstrip()
    except NotTried:
        return NOT_TRIED
    except Off as off:
        return f"not yet. {off}"


def find(name: str) -> Callable[[Any], str | None]:
    """The function that judges an exercise. Raises ValueError for one that there is not."""
    parts = re.fullmatch(r"(\w\w)\.(\d+)", name)
    module = f"{__name__}.lesson_{parts[1]}" if parts else ""
    judge = getattr(import_module(module), f"exercise_{parts[2]}", None) if parts and find_spec(module) else None
    if judge is None:
        raise ValueError(f"there is no exercise {name!r}; they are numbered by notebook, such as '03.2'")
    return judge


def untouched(attempt: Any) -> bool:
    """Whether the place for an attempt is as it was: `...`, or a few things one of which is `...`."""
    if isinstance(attempt, list | tuple):
        return any(part is ... for part in attempt)
    return attempt is ...


# What exercises are made of


def function(attempt: Any) -> Callable[..., Any]:
    """The attempt as a function, which is called safely: what it raises becomes what is off.

    One that returns nothing, as a function of `...` does, counts as not tried.
    """
    if not callable(attempt):
        raise Off(f"This should be a function, and is {kind(attempt)}.")

    def call(*arguments: Any, **named: Any) -> Any:
        try:
            found = attempt(*arguments, **named)
        except Exception as error:
            raise Off(f"Your function raised {type(error).__name__}: {error}") from error
        if found is None or found is ...:
            if bare(attempt):
                raise NotTried
            raise Off("Your function returns nothing: does it end in `return`?")
        return found

    return call


def bare(attempt: Callable[..., Any]) -> bool:
    """Whether a function consists of `...`, but for its docstring. A function without source is not bare."""
    try:
        lines = inspect.getsource(attempt).strip().splitlines()
    except (OSError, TypeError):
        return False
    return lines[-1].strip() == "..."


def number(attempt: Any, right: float, within: float = 0, slips: Mapping[float, str] | None = None) -> None:
    """Raises Off unless the attempt is the number `right`, up to `within`.

    slips: {a wrong number that one easily gets: what was overlooked}.
    """
    if isinstance(attempt, torch.Tensor) and attempt.numel() == 1:
        attempt = attempt.item()
    if isinstance(attempt, bool) or not isinstance(attempt, Real):
        raise Off(f"This should be a number, and is {kind(attempt)}.")
    attempt = float(attempt)
    if abs(attempt - right) <= within:
        return
    for slip, remark in (slips or {}).items():
        if abs(attempt - slip) <= max(within, 1e-3 * abs(slip)):
            raise Off(remark)
    raise Off(f"{attempt:g} is too {'large' if attempt > right else 'small'}.")


def tensor(attempt: Any, right: torch.Tensor, within: float = 0, what: str = "The result") -> None:
    """Raises Off unless the attempt is a tensor of the shape and the values of `right`, up to `within`."""
    if not isinstance(attempt, torch.Tensor):
        raise Off(f"{what} should be a tensor, and is {kind(attempt)}.")
    if attempt.shape != right.shape:
        raise Off(f"{what} should have the shape {tuple(right.shape)}, and has {tuple(attempt.shape)}.")
    wrong = (attempt.double() - right.double()).abs() > within
    if wrong.any():
        raise Off(f"{what} has the right shape, but {wrong.sum()} of its {wrong.numel()} values are off.")


def kind(attempt: Any) -> str:
    """What an attempt is, in words."""
    if isinstance(attempt, torch.Tensor):
        return f"a tensor of shape {tuple(attempt.shape)}"
    name = type(attempt).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
