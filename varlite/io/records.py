"""Records from files that anybody may have edited or cut: JSON objects, and dataclasses read strictly from them."""

import json
import math
import types
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

MOST_BYTES = 2**26  # of a JSON file: far above what any of ours has
NAMES = {
    int: "an integer", float: "a number", str: "a string", bool: "true or false", list: "a list", tuple: "a list",
    dict: "an object", type(None): "null",
}  # fmt: skip

Record = TypeVar("Record")


def parse_object(text: str, source: Path | str) -> dict[str, Any]:
    """The JSON object in `text`. Raises ValueError that begins with `source`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{source} must be a JSON object, got {shown(value)}")
    return value


def read_text(path: Path) -> str:
    """A text of ours. Raises ValueError, naming the file, for one that is absurdly large or not UTF-8."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{path} is damaged: {size / 1e6:.0f} MB is too large for it")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: it is not text in UTF-8 ({error.reason})") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError that names the file."""
    return parse_object(read_text(path), path)


def check_entries(record: dict[str, Any], kinds: dict[str, Any], source: Path | str) -> None:
    """Raises ValueError, naming source and entry, unless entries of `record` are of the types that `kinds` gives."""
    for name, kind in kinds.items():
        if name in record and (wrong := misfit(record[name], kind)):
            raise ValueError(f"{source}: {name!r} must be {wrong}")


def read_record(cls: type[Record], record: dict[str, Any], source: Path | str) -> Record:
    """A dataclass from a JSON object: no entry unknown, none missing that has no default, each of its field's type.

    Raises ValueError that names source and entry, for what the class itself refuses as well.
    """
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    if unknown := [name for name in record if name not in known]:
        raise ValueError(f"{source}: unknown entry {unknown[0]!r}; there are: {', '.join(known)}")
    for name, field in known.items():
        if name not in record and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{source}: {name!r} is missing")
    check_entries(record, get_type_hints(cls), source)
    try:
        return cls(**record)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{source}: {error}") from None


def misfit(value: Any, kind: Any) -> str | None:
    """What `value` should be and is not, or None if it is of type `kind`; types that JSON does not know always fit."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        wrong = [misfit(value, one) for one in inner]
        return None if None in wrong else " or ".join(NAMES.get(get_origin(one) or one, str(one)) for one in inner)
    if origin is Literal:
        return None if value in inner else f"one of {', '.join(map(str, inner))}, got {shown(value)}"
    if origin not in NAMES:
        return None
    expected: Any = {float: (int, float), tuple: (list, tuple), list: (list, tuple)}.get(origin, origin)
    if not isinstance(value, expected) or (isinstance(value, bool) and origin is not bool):
        return f"{NAMES[origin]}, got {shown(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"a finite number, got {value}"
    if origin is dict:
        items, item = list(value.values()), inner[1] if inner else Any
    elif origin in (list, tuple):
        items, item = list(value), inner[0] if inner else Any
    else:
        return None
    wrong_items = [found for entry in items if (found := misfit(entry, item))]
    return f"{NAMES[origin]} in which each entry is {wrong_items[0]}" if wrong_items else None


def shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
