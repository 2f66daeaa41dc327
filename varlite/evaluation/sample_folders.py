"""Folders of samples: files named by class and number, and a samples.json that says which of them belong there."""

import json
from pathlib import Path
from typing import Any

from varlite.datasets.folders import images_in

RECORD = "samples.json"


def sample_name(label: int, number: int) -> str:
    """File name of sample `number` of class `label`."""
    return f"{label:04d}_{number:05d}.png"


def names_in(record: dict[str, Any]) -> set[str]:
    """The files that a samples.json accounts for."""
    return {sample_name(c, i) for c in record["classes"] for i in range(record["num_per_class"])}


def read_record(folder: Path) -> dict[str, Any] | None:
    """The samples.json in a folder; None where there is none, or one that is not ours."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return record if names_in(record) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def images_of(folder: Path) -> set[str]:
    """Paths of all images in a folder and below; none if it does not exist."""
    return set() if not folder.exists() else {name.removeprefix("./") for name in images_in(folder, folder)}


def check_left_over(folder: Path) -> None:
    """Raises ValueError if a samples.json describes the folder, and there are other images beside those it names."""
    record = read_record(folder)
    if record is None:
        return
    wanted, found = names_in(record), images_of(folder)
    if found != wanted:
        more, fewer = sorted(found - wanted), sorted(wanted - found)
        wrong = [f"{len(more)} more, such as {more[0]}"] * bool(more) + [f"{len(fewer)} fewer"] * bool(fewer)
        raise ValueError(
            f"{folder / RECORD} names {len(wanted)} images and the folder holds {' and '.join(wrong)}: "
            "left over from another run, or not finished. Make them again in an empty folder"
        )


def check_claim(argument: str, folder: Path) -> None:
    """Raises ValueError if a folder for new samples holds images that no samples.json there names."""
    record = read_record(folder)
    strange = sorted(images_of(folder) - (names_in(record) if record else set()))
    if strange:
        raise ValueError(
            f"{argument}: {folder} holds {len(strange)} images that would be counted in, such as {strange[0]}: "
            "use an empty folder"
        )


def claim(folder: Path, record: dict[str, Any]) -> bool:
    """Make a folder ready for the samples that `record` describes; True if what is there already is of that very run.

    The images of another run are deleted, those that its samples.json names and no others.
    """
    old = read_record(folder)
    if old is not None and old != record:
        for name in names_in(old):
            (folder / name).unlink(missing_ok=True)
    return old == record
