"""Folders of samples or edits: a record beside the images, samples.json or edits.json, says which belong there."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from varlite.datasets.folders import images_in
from varlite.io.records import read_object

RECORD, EDITS = "samples.json", "edits.json"


def sample_name(label: int, number: int) -> str:
    """File name of sample `number` of class `label`."""
    return f"{label:04d}_{number:05d}.png"


def edit_name(number: int) -> str:
    """File name of an edit."""
    return f"{number:05d}.png"


def belongs(name: str, record: dict[str, Any]) -> bool:
    """Whether a record accounts for an image. Asked for each image there is: a record may speak of any number."""
    numbers = [int(digits) for digits in re.findall(r"\d{1,18}", name)]
    if "classes" in record:
        known = len(numbers) == 2 and numbers[0] in record["classes"] and numbers[1] < record["num_per_class"]
        return known and name == sample_name(*numbers)
    return len(numbers) == 1 and numbers[0] < record["num"] and name == edit_name(*numbers)


def count(record: dict[str, Any]) -> int:
    """How many images a record accounts for."""
    return len(record["classes"]) * record["num_per_class"] if "classes" in record else record["num"]


def read_record(folder: Path, file: str = RECORD) -> dict[str, Any] | None:
    """The record in a folder; None where there is none, or one that is not ours."""
    try:
        record = read_object(folder / file)
        belongs(sample_name(record["classes"][0], 0) if file == RECORD else edit_name(0), record)
        return record if count(record) > 0 else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def images_of(folder: Path) -> set[str]:
    """Paths of all images in a folder and below; none if it does not exist."""
    return set(images_in(folder)) if folder.exists() else set()


def check_left_over(folder: Path) -> None:
    """Raises ValueError if a samples.json describes the folder, and there are other images beside those it names."""
    record = read_record(folder)
    if record is None:
        return
    found = images_of(folder)
    more = sorted(name for name in found if not belongs(name, record))
    fewer = count(record) - (len(found) - len(more))
    if more or fewer:
        wrong = [f"{len(more)} more, such as {more[0]}"] if more else []
        wrong += [f"{fewer} fewer"] if fewer else []
        raise ValueError(
            f"{folder / RECORD} names {count(record)} images and the folder holds {' and '.join(wrong)}: "
            "left over from another run, or not finished. Make them again in an empty folder"
        )


def check_claim(argument: str, folder: Path, file: str = RECORD, pictures: Iterable[Path | None] = ()) -> None:
    """Raises ValueError if a folder for new images holds some that no record there names, other than the `pictures`
    of them that will be written over."""
    record = read_record(folder, file)
    written = {path.resolve() for path in pictures if path is not None}
    strange = sorted(
        name
        for name in images_of(folder)
        if not (record and belongs(name, record)) and (folder / name).resolve() not in written
    )
    if strange:
        raise ValueError(
            f"{argument}: {folder} holds {len(strange)} images that would be counted in, such as {strange[0]}: "
            "use an empty folder"
        )


def claim(folder: Path, record: dict[str, Any], file: str = RECORD) -> bool:
    """Make a folder ready for the images that `record` describes; True if what is there already is of that very run.

    The images of another run are deleted, those that its record names and no others.
    """
    old = read_record(folder, file)
    if old is not None and old != record:
        for name in images_of(folder):
            if belongs(name, old):
                (folder / name).unlink(missing_ok=True)
    return old == record
