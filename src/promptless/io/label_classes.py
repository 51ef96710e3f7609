"""The classes of a label image's objects, from the table that stands with it."""

from __future__ import annotations

import csv
from pathlib import Path

from promptless.io.pairs import core, stem

TABLE = "_objects.csv"


def beside(path: Path) -> dict[int, int]:
    """Return the class of each object of the label image `path` by label; nothing where no table tells it.

    That is `NAME_objects.csv` beside it, which `segment` writes, or `classes/NAME.csv` beside its folder, as in a
    prepared data set. Objects of class 0 have none.
    """
    tables = (
        path.with_name(core(path) + TABLE),
        *(path.parent.parent / "classes" / f"{name}.csv" for name in dict.fromkeys((stem(path), core(path)))),
    )
    found = next((table for table in tables if table.is_file()), None)
    return {} if found is None else read(found)


def read(table: Path) -> dict[int, int]:
    """Return the columns label and class of a CSV file; nothing where it has no such columns."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"label", "class"} <= set(rows.fieldnames or ()):
            return {}
        try:
            told = {int(row["label"]): int(row["class"]) for row in rows}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{table} holds labels or classes that are no whole numbers ({error})") from error
    return {label: value for label, value in told.items() if value > 0}
