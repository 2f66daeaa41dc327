import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from varlite.io.records import MOST_BYTES, misfit, read_object, read_record


@dataclass(frozen=True)
class Example:
    depth: int
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    sides: list = field(default_factory=list)
    blocks: tuple[int, ...] = ()
    name: str | None = None
    more: Any = None

    def __post_init__(self):
        if self.depth < 0:
            raise ValueError("depth must not be negative")


def test_a_record_is_read_with_its_defaults():
    assert read_record(Example, {"depth": 2}, "f") == Example(2)
    whole = {"depth": 2, "rate": 1, "kind": "b", "sides": [1, [2, 3]], "blocks": [1, 2], "name": None, "more": {}}
    assert read_record(Example, whole, "f") == Example(**whole)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "'depth' is missing"),
        ({"depth": 1, "with": 2}, "unknown entry 'with'; there are: depth, rate"),
        ({"depth": "1"}, "'depth' must be an integer, got \"1\""),
        ({"depth": 1.0}, "'depth' must be an integer, got 1.0"),
        ({"depth": True}, "'depth' must be an integer, got true"),
        ({"depth": None}, "'depth' must be an integer, got null"),
        ({"depth": 1, "rate": "fast"}, "'rate' must be a number, got \"fast\""),
        ({"depth": 1, "rate": float("nan")}, "'rate' must be a finite number, got nan"),
        ({"depth": 1, "kind": "c"}, "'kind' must be one of a, b, got \"c\""),
        ({"depth": 1, "sides": 3}, "'sides' must be a list, got 3"),
        ({"depth": 1, "blocks": [1, "2"]}, "'blocks' must be a list in which each entry is an integer, got \"2\""),
        ({"depth": 1, "name": 3}, "'name' must be a string or null"),
        ({"depth": 1, "sides": {"a": "x" * 999}}, '\'sides\' must be a list, got {"a": "xxx'),
        ({"depth": -1}, "depth must not be negative"),
    ],
)
def test_a_wrong_entry_is_named_with_its_source_in_one_short_line(entries, message):
    with pytest.raises(ValueError, match="^" + re.escape(f"a.json: {message}")) as raised:
        read_record(Example, entries, "a.json")
    assert len(str(raised.value)) < 200 and "\n" not in str(raised.value)


def test_entries_of_nested_types_are_checked():
    assert misfit({"a": [1, 2]}, dict[str, list[int]]) is None
    assert misfit({"a": [1, "2"]}, dict[str, list[int]]) is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1]", "must be a JSON object, got [1]"),
        (b'{"a": "\xff"}', "is damaged: it is not text in UTF-8"),
    ],
)
def test_a_file_that_holds_no_json_object_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(f"{tmp_path}/a.json {message}")):
        read_object(tmp_path / "a.json")


def test_an_absurdly_large_file_is_not_read(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ValueError, match=r"a.json is damaged: 67 MB is too large"):
        read_object(tmp_path / "a.json")
