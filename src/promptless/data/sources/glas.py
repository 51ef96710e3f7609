"""GlaS (Sirinukunwattana et al. 2017, for research only): glands in H&E, `NAME.bmp`, `NAME_anno.bmp`, `Grade.csv`.

testA and testB are the test images. A case is a patient, and the category the grade, as `Grade.csv` says.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from promptless.data.prepared import IMAGES, UNSORTED, Facts
from promptless.data.sample import Sample
from promptless.data.source import Source, both, files
from promptless.io import labels, readers
from promptless.io.pairs import by_name, stem

FACTS = Facts("glas", "research only", "https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest", {1: "gland"})
MPP = 0.62005
END = "_anno"


def read(folder: Path) -> Source[Sample]:
    """Find images, label images and grades."""
    found = by_name(files(folder, ".bmp"), stem)
    masks = {name.removesuffix(END): path for name, path in found.items() if name.endswith(END)}
    images = {name: path for name, path in found.items() if not name.endswith(END)}
    ids, unpaired = both(images, masks)
    patients, grades = graded(folder)
    official = {name: "test" for name in ids if name.startswith("test")}
    return Source(
        FACTS,
        IMAGES,
        ids,
        partial(load, images, masks, grades),
        official,
        lambda name: patients.get(name, name),
        unpaired,
    )


def graded(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return patients and grades by image, nothing where there is no `Grade.csv`."""
    rows = [row for path in files(folder, ".csv") if path.name.lower() == "grade.csv" for row in table(path)]
    patients = {row["name"]: f"patient {row['patient id']}" for row in rows if row.get("patient id")}
    return patients, {row["name"]: row["grade (glas)"] for row in rows if row.get("grade (glas)")}


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV whose columns and values have blanks around them."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [[word.strip() for word in row] for row in csv.reader(file) if row]
    head = [word.lower() for word in rows[0]] if rows else []
    if "name" not in head:
        raise ValueError(f"{path} lacks the column name")
    return [dict(zip(head, row, strict=False)) for row in rows[1:]]


def load(images: dict[str, Path], masks: dict[str, Path], grades: dict[str, str], name: str) -> Sample:
    """Return one image."""
    return Sample(name, grades.get(name, UNSORTED), readers.read(images[name]).data, labels.read(masks[name]), MPP)
