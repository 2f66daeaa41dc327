"""Tables of published and measured numbers, as HTML that needs no style: pages that show notebooks drop it.

A row is what `varlite.experiments.paper_tables` reads and joins. A number on which sources disagree is marked "≠".
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from IPython.display import HTML

from varlite.experiments.paper_tables import DECIMALS, MEASURED

# Heads of columns; other columns are headed by their name.
HEADS = {
    "fid": "FID", "is": "IS", "params": "parameters", "time": "time, relative", "cost": "cost, relative",
    "fd": "FD (fashion features)", "seconds_per_image": "s an image",
}  # fmt: skip
SHARES, AS_IS = {"accuracy", "recall_within_class"}, {"number", "cfg", "top_k", "top_p", "resolution", "depth"}
LONG = {"note", "claim", "meaning"}  # columns whose text may break into lines
DISAGREE, NONE = "\N{NO-BREAK SPACE}≠", "-"

Row = Mapping[str, Any]


def text(row: Row, column: str) -> str:
    """A field as text: published numbers with all their decimals, measured ones with as many as others print.

    A Fréchet distance is followed by its range over seeds, where the row has one.
    """
    value = row.get(column)
    if column == "time" and value is None and row.get("time_above") is not None:
        return f"> {row['time_above']:g}"
    if value is None or value == "":
        return NONE
    if column == "params":
        return size(value)
    if isinstance(value, str | int) or column in AS_IS:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return number(row, column, value) + DISAGREE * (column in row.get("disagrees", ()))


def number(row: Row, column: str, value: float) -> str:
    if column in SHARES:
        return f"{value:.1%}"
    if column in DECIMALS:
        short = f"{value:.{DECIMALS[column]}f}"
        return short if row.get("mark") == MEASURED or float(short) == value else f"{value:g}"
    if column == "fd":
        low, high = row["band"]["fd"] if "band" in row else (value, value)
        return f"{value:.2f}" + f" ({low:.2f} to {high:.2f})" * (low < high)
    return f"{value:.2g}" if row.get("mark") == MEASURED else f"{value:g}"


def size(count: float) -> str:
    """310M or 2.0B, as the papers print it; 2.7M for a small model."""
    if count >= 999.5e6:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.0f}M" if count >= 20e6 else f"{count / 1e6:.2g}M"


def markup(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """One table; columns of words to the left, of numbers to the right, and measured rows in bold type."""
    sides = ["left" if any(isinstance(row.get(c), str) for row in rows) else "right" for c in columns]
    lines = ["<table>", "<tr>" + "".join(f"<th>{escape(HEADS.get(c, c))}</th>" for c in columns) + "</tr>"]
    for row in rows:
        strong = "<b>{}</b>" if row.get("mark") == MEASURED else "{}"
        cells = []
        for column, side in zip(columns, sides, strict=True):
            style = f"text-align: {side}; white-space: {'normal' if column in LONG else 'nowrap'}"
            cells.append(f'<td align="{side}" style="{style}">{strong.format(escape(text(row, column)))}</td>')
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def table(rows: Sequence[Row], columns: str, first: Callable[[Row], bool] | None = None) -> HTML:
    """A table of the columns named, separated by blanks. With `first` the rows that it picks, and all, folded, below.

    Raises ValueError for a column that no row has.
    """
    names = columns.split()
    there = dict.fromkeys(name for row in rows for name in row)
    if strange := [name for name in names if name not in there]:
        raise ValueError(f"columns: no row has {', '.join(strange)}; there are {', '.join(there)}")
    if first is None:
        return HTML(markup(rows, names))
    picked = [row for row in rows if first(row)]
    folded = f"<details><summary>all {len(rows)} rows</summary>\n{markup(rows, names)}\n</details>"
    return HTML(markup(picked, names) + "\n" + folded)
