"""The parts of `varlite verify` in their order, and its table."""

from pathlib import Path
from typing import Any

import torch

from varlite.speed.verify_equality import parity, same_tokens
from varlite.speed.verify_parts import Part, Row, failures, run_parts
from varlite.speed.verify_speed import about_machine, compiled, memory, sampling
from varlite.speed.verify_training import several, training

# Together seven and a half minutes on a GPU.
ON_GPU = [
    Part("machine", about_machine, 10), Part("parity", parity, 50), Part("same tokens", same_tokens, 45),
    Part("sampling", sampling, 150), Part("memory", memory, 35), Part("training", training, 60),
    Part("several GPUs", several, 25), Part("compiled", compiled, 75),
]  # fmt: skip
# A minute on two cores that are free.
ON_CPU = [
    Part("machine", about_machine, 5), Part("parity", parity, 25), Part("same tokens", same_tokens, 15),
    Part("sampling", sampling, 20), Part("memory", memory, 10), Part("training", training, 15),
]  # fmt: skip
MARKS = {True: "passed", False: "FAILED", None: "-"}
WIDTHS = (64, 12, 22, 44)


def verify(device: torch.device, out: Path | None = None) -> dict[str, Any]:
    """Run what fits the device, and print the table; the record goes to `out` as well.

    Rows are printed as they come. Raises ValueError, after the table, if something did not pass.
    """
    small = device.type != "cuda"
    parts, shown = ON_CPU if small else ON_GPU, set()

    def show(part: str, row: Row) -> None:
        if part not in shown:
            shown.add(part)
            print(f"\n{part}", flush=True)
        print(line(row.what, row.value, row.unit, row.beside, row.passed, row.note), flush=True)

    record = run_parts(parts, device, small, out, show)
    print("\n" + table(record))
    if wrong := failures(record):
        raise ValueError(f"verify: {len(wrong)} of its checks did not pass: {'; '.join(wrong)}")
    return record


def line(what: str, value: float | str, unit: str, beside: str, passed: bool | None, note: str) -> str:
    cells = [f"  {what}", f"{value:>12}", unit, beside]
    padded = (cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return " ".join([*padded, f"{MARKS[passed]:7s}", note]).rstrip()


def table(record: dict[str, Any]) -> str:
    """The figures that have a published one beside them; then one line a part: how many checks passed and failed, how
    many figures were taken, what was not run, and the seconds."""
    rows = [row for of_part in record["parts"].values() for row in of_part if row["beside"].startswith("published")]
    lines = [record["machine"], *(line(**row) for row in rows)]
    lines += [f"{'part':16s}{'passed':>8s}{'failed':>8s}{'figures':>9s}{'not run':>9s}{'seconds':>9s}"]
    for part, rows in record["parts"].items():
        missing = sum(row["value"] in ("not run", "not there") or row["what"].startswith("the rest") for row in rows)
        verdicts = [row["passed"] for row in rows]
        counts = verdicts.count(True), verdicts.count(False), max(0, verdicts.count(None) - missing), missing
        lines.append(
            f"{part:16s}{counts[0]:8d}{counts[1]:8d}{counts[2]:9d}{counts[3]:9d}{record['seconds'][part]:9.1f}"
        )
    lines.append("FAILED: " + "; ".join(wrong) if (wrong := failures(record)) else "all checks that were run passed")
    return "\n".join(lines)
