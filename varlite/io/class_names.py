"""Names of classes: their order, and how users refer to them."""

import difflib
import operator
import re
from collections.abc import Sequence
from typing import Any

SHOWN = 20


def natural_key(name: str) -> tuple[list[Any], str]:
    """Sorts as people count: "2" before "10". Names without digits keep their plain order."""
    parts: list[Any] = re.split(r"(\d+)", name)
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts, name


def class_indices(given: str | int | Sequence[str | int], names: Sequence[str] | int) -> list[int]:
    """Numbers of classes that are given by name or number, as a list or as text such as "cats,dogs" or "0,3".

    names: of all classes in order, or just how many there are. In text a name is taken before a number: with folders
    called 1, 2 and 3, "1" is the first of them.
    Raises ValueError that lists the names for a class that does not exist.
    """
    known = {} if isinstance(names, int) else {name: i for i, name in enumerate(names)}
    count = names if isinstance(names, int) else len(names)
    parts: Sequence[str | int]
    if isinstance(given, str):
        parts = [given] if given in known else [part.strip() for part in given.split(",")]
    else:
        parts = [given] if isinstance(given, int) else list(given)
    if not parts or parts == [""]:
        raise ValueError(f"no class is given: {_choices(known, count)}")
    return [_class_index(part, known, count) for part in parts]


def _class_index(part: Any, known: dict[str, int], count: int) -> int:
    if isinstance(part, str):
        if part in known:
            return known[part]
        number = int(part) if re.fullmatch(r"\d{1,9}", part, re.ASCII) else None
    else:
        try:
            number = None if isinstance(part, bool) else operator.index(part)
        except TypeError:
            number = None
    if number is not None and 0 <= number < count:
        return number
    near = difflib.get_close_matches(str(part), known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no class {part!r}: {_choices(known, count)}.{hint}")


def _choices(known: dict[str, int], count: int) -> str:
    numbers = f"numbers from 0 to {count - 1}"
    if not known:
        return f"classes are {numbers}"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"classes are {', '.join(list(known)[:SHOWN])}{more}, or {numbers}"
