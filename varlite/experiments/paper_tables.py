"""Published numbers, read from `data/published/` with where each comes from, and put beside measured ones."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from varlite.io.places import PUBLISHED, RESULTS
from varlite.io.records import read_object

# How a published number was checked; "measured" is ours.
MARKS = {
    "paper": "a paper's own text, or the official README and code",
    "two-copies": "two independent public transcriptions agree",
    "one-copy": "one transcription or one report only",
    "derived": "computed from definitions or from other rows",
}
MEASURED = "measured"

TABLES = {
    "imagenet-256": "type model fid is precision recall params steps time time_above source mark note",
    "imagenet-512": "type model fid is time source mark note",
    "ablation": "row step params fid cost cfg source mark note",
    "model-zoo": "model resolution fid is precision recall params file source mark note",
    "scaling-laws": "quantity tokens against per factor exponent correlation source mark note",
    "sizes": "model depth width heads drop_path params source mark note",
    "mvar": "model depth params fid is precision recall steps file source mark note",
    "claims": "claim number unit source mark note",
    "protocol": "setting value source mark note",
}
INTEGERS = {"steps", "row", "resolution", "depth", "width", "heads"}
NUMBERS = {"fid", "is", "precision", "recall", "time", "time_above", "cost", "cfg", "per", "factor", "exponent"}
NUMBERS |= {"correlation", "drop_path", "number", "params"}
FULL = {"source", "mark", "type", "model", "row", "step", "quantity", "tokens", "against", "claim", "setting", "value"}

# Decimals that the papers print: two values that differ beyond them disagree.
DECIMALS = {"fid": 2, "is": 1, "precision": 2, "recall": 2}

Row = dict[str, Any]


def read_table(name: str, folder: Path = PUBLISHED) -> list[Row]:
    """The rows of a published table, in its order; None where a source gives no number, `params` as a plain number.

    Raises ValueError for an unknown table, other columns than TABLES says, a number that is none, or an unknown mark.
    """
    if name not in TABLES:
        raise ValueError(f"unknown table {name!r}; there are: {', '.join(TABLES)}")
    path, columns = folder / f"{name}.csv", TABLES[name].split()
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if header != columns:
        raise ValueError(f"{path} must have the columns {', '.join(columns)}; got {', '.join(header)}")
    rows = []
    for number, line in enumerate(lines, 2):
        where = f"{path}, line {number}"
        if len(line) != len(columns):
            raise ValueError(f"{where} must have {len(columns)} fields, got {len(line)}")
        rows.append({column: parse(column, text, where) for column, text in zip(columns, line, strict=True)})
    return rows


def parse(column: str, text: str, where: str) -> Any:
    """A field as what its column holds. Raises ValueError that says where."""
    if column == "mark" and text not in MARKS:
        raise ValueError(f"{where}: mark must be one of {', '.join(MARKS)}, got {text!r}")
    if column in FULL and not text:
        raise ValueError(f"{where}: {column} is empty")
    if column not in INTEGERS | NUMBERS:
        return text
    if not text:
        return None
    try:
        if column in INTEGERS:
            return int(text)
        factor = {"M": 1e6, "B": 1e9}.get(text[-1], 1) if column == "params" else 1
        return float(text[:-1]) * factor if factor > 1 else float(text)
    except ValueError:
        raise ValueError(f"{where}: {column} must be a number, got {text!r}") from None


def read_results(folder: Path = RESULTS) -> list[Row]:
    """The measurements of models in a folder: JSON with "model" and "scores" (`varlite evaluate --out`) or "mean", over
    seeds (`varlite reproduce fashion`)."""
    records = [read_object(path) for path in sorted(folder.glob("*.json"))]
    return [record for record in records if "model" in record and ("scores" in record or "mean" in record)]


def join(published: Sequence[Row], measured: Iterable[Mapping[str, Any]], on: str = "model") -> list[Row]:
    """Published rows and, behind those of the same `on`, the measured ones: a measured model without any comes last.

    measured: {on: ..., "command": str, "scores" or "mean": {...}, ...}, as `read_results` gives them. Scores become
    columns beside all else that a record says but its single runs, the command its source, "measured" its mark.
    Every row gets `disagrees`, the scores on which sources part: for a published row those that another published row
    gives otherwise, for a measured one those outside what all published rows of its model span.
    Raises ValueError for a row without `on` or mark, or a measurement without command or scores.
    """
    rows: list[Row] = []
    for row in published:
        need(row, (on, "mark"), "published")
        rows.append(dict(row))
    for record in measured:
        scores = "mean" if "mean" in record else "scores"
        need(record, (on, "command", scores), "measured")
        rest = {key: value for key, value in record.items() if key not in ("command", "runs", "parameters", scores)}
        rest |= {"params": record["parameters"]} if "parameters" in record else {}
        rows.append(rest | {"source": record["command"], "mark": MEASURED} | dict(record[scores]))
    order = {key: i for i, key in reversed(list(enumerate(row[on] for row in rows)))}
    rows.sort(key=lambda row: (order[row[on]], row["mark"] == MEASURED))
    for row in rows:
        others = [r for r in rows if r[on] == row[on] and r is not row and r["mark"] != MEASURED]
        row["disagrees"] = [name for name in DECIMALS if parts(row, others, name)]
    return rows


def need(row: Mapping[str, Any], keys: Iterable[str], what: str) -> None:
    """Raises ValueError that names what a row lacks."""
    if missing := [key for key in keys if key not in row]:
        raise ValueError(f"{what}: a row lacks {', '.join(missing)}; it has {', '.join(row)}")


def parts(row: Row, others: Sequence[Row], name: str) -> bool:
    """Does this row disagree with the other published values of score `name`?"""
    said = [round(r[name], DECIMALS[name]) for r in others if r.get(name) is not None]
    if row.get(name) is None or not said:
        return False
    own = round(row[name], DECIMALS[name])
    return not min(said) <= own <= max(said) if row["mark"] == MEASURED else set(said) != {own}
