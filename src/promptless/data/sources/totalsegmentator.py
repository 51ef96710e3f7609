"""TotalSegmentator (Wasserthal et al. 2023, CC BY 4.0): `sNNNN/ct.nii.gz`, and a file per class in `segmentations/`.

`meta.csv` says which scans are train, val and test. Where two classes share a voxel, the first keeps it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.data import scans
from promptless.data.prepared import Facts
from promptless.data.source import Source
from promptless.data.volumes import SCANS, Original, VolumeSample
from promptless.image import Image
from promptless.io import scans as files
from promptless.io.pairs import stem

NAME, LICENCE, WHERE = "totalsegmentator", "CC BY 4.0", "https://doi.org/10.5281/zenodo.6802613"
IMAGE, MASKS, META = "ct.nii.gz", "segmentations", "meta.csv"
PARTS = {"train": "train", "val": "dev", "test": "test"}


def read(folder: Path, *, classes: Sequence[str] = ()) -> Source[Original]:
    """Find the scans; `classes` are those to take, as 1, 2, ..., else all there are, by the alphabet."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; name the one that holds s0000, s0001, ...")
    cases = sorted(path for path in folder.iterdir() if (path / IMAGE).is_file() or (path / MASKS).is_dir())
    there = {case.name: {stem(path) for path in scans.nifti_in(case / MASKS)} for case in cases}
    known = sorted(set().union(*there.values()))
    unknown = [name for name in classes if name not in known]
    if cases and unknown:
        raise ValueError(f"no scan in {folder} has the class {unknown[0]}; there are {', '.join(known)}")
    names = list(classes or known)
    lacking = {case.name: lack(case, names, there[case.name]) for case in cases}
    ids = tuple(case.name for case in cases if not lacking[case.name])
    return Source(
        Facts(NAME, LICENCE, WHERE, dict(enumerate(names, start=1))),
        SCANS,
        ids,
        partial(load, folder, names),
        {name: part for name, part in parts(folder / META).items() if name in ids},
        unpaired=tuple(text for text in lacking.values() if text),
    )


def lack(case: Path, names: Sequence[str], there: set[str]) -> str:
    """Return what is to be said of a scan that lacks a file, nothing where it lacks none."""
    if not (case / IMAGE).is_file():
        return f"{case.name} has no {IMAGE}"
    gone = [name for name in names if name not in there]
    return f"{case.name} has no {MASKS}/{gone[0]}.nii.gz" if gone else ""


def parts(meta: Path) -> dict[str, str]:
    """Return the part of each scan that `meta.csv` names one for."""
    if not meta.is_file():
        return {}
    with meta.open(newline="", encoding="utf-8-sig") as file:
        head = file.readline()
        file.seek(0)
        rows = csv.DictReader(file, delimiter=";" if ";" in head else ",")
        absent = {"image_id", "split"} - set(rows.fieldnames or ())
        if absent:
            raise ValueError(f"{meta} lacks the column {' and '.join(sorted(absent))}")
        return {row["image_id"]: PARTS[row["split"]] for row in rows if row["split"] in PARTS}


def load(folder: Path, names: Sequence[str], name: str) -> Original:
    """Return one scan with its masks as one label image."""
    image = files.read(folder / name / IMAGE)
    labels = np.zeros(image.shape, np.uint8 if len(names) <= np.iinfo(np.uint8).max else np.uint16)
    for value, kind in enumerate(names, start=1):
        labels[mask(folder / name / MASKS, kind, image) & (labels == 0)] = value
    return Original(VolumeSample(name, image, labels), folder / name / IMAGE, None)


def mask(folder: Path, kind: str, image: Image) -> NDArray[np.bool_]:
    """Return where a class is."""
    path = next(path for path in scans.nifti_in(folder) if stem(path) == kind)
    found = files.read_labels(path, image)
    values = found.max()
    if ((found != 0) & (found != values)).any():
        raise ValueError(f"{path} holds several labels; it must hold one class, as 0 and 1")
    return np.asarray(found > 0)
