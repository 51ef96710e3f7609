"""A raw data set of nnU-Net, version 1 or 2: `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, `dataset.json`.

CASE_0001 and so on are further channels. Where `labelsTs` is there, its scans are test.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from promptless.data import prepared, scans
from promptless.data.source import Source
from promptless.data.volumes import Original
from promptless.io.pairs import by_name, stem

CHANNEL = re.compile(r"(.+)_(\d{4})")


def read(folder: Path, *, channel: str | None = None) -> Source[Original]:
    """Find the labelled scans; `channel` (a number or a name) is the one to take of several."""
    home, known = scans.described(folder, "Dataset004_Hippocampus")
    check(home, known)
    labels = by_name((p for part in ("Tr", "Ts") for p in scans.nifti_in(home / f"labels{part}")), stem)
    test = {stem(path): "test" for path in scans.nifti_in(home / "labelsTs")}
    found = by_channel(home, ("Tr", "Ts") if test else ("Tr",))
    told = scans.channels(known)
    names = {number: told.get(number, "") for number in sorted(found)}
    images = found[scans.chosen(home, names, channel)] if found else {}
    unpaired = scans.missing(scans.listed(known, "training"), images.keys() | labels.keys())
    return scans.source(scans.facts(home, known, "nnunet"), images, labels, test, unpaired=unpaired)


def by_channel(home: Path, parts: tuple[str, ...]) -> dict[int, dict[str, Path]]:
    """Return the images by the number of their channel and the name of their case."""
    paths: dict[int, list[Path]] = defaultdict(list)
    for path in (path for part in parts for path in scans.nifti_in(home / f"images{part}")):
        match = CHANNEL.fullmatch(stem(path))
        if match is None:
            raise ValueError(f"{path} does not end in the number of its channel; nnU-Net's images are CASE_0000.nii.gz")
        paths[int(match[2])].append(path)
    return {number: by_name(found, lambda path: stem(path)[:-5]) for number, found in paths.items()}


def check(home: Path, known: dict[str, object]) -> None:
    """Refuse what `dataset.json` says of a set that cannot be read as classes of voxels in NIfTI files."""
    ending = str(known.get("file_ending", ".nii.gz"))
    if ending not in scans.NIFTI:
        raise ValueError(f"{home} holds {ending} files, and scans are read from {' or '.join(scans.NIFTI)}")
    if "ignore" in prepared.class_names(home).values():
        raise ValueError(f"{home / prepared.SET} has voxels to ignore, which training does not know; give them a class")
