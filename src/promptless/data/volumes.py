"""Labelled scans as training reads them.

A folder of `images/ID.nii.gz` and `labels/ID.nii.gz` on the same grid, `split.json` (IDs of train, dev, test) and,
where they are known, the names of the classes in `dataset.json` and what is known of each scan in `index.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.data.prepared import Entry, Layout
from promptless.image import Image
from promptless.io import scans

SUFFIX = ".nii.gz"


@dataclass(frozen=True, eq=False)
class VolumeSample:
    """A scan (1, z, y, x) with the class of each voxel (z, y, x), 0 background."""

    id: str
    image: Image
    labels: NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Original:
    """A labelled scan and the files that it came from; `labels` is None where they were put together of several."""

    sample: VolumeSample
    image: Path
    labels: Path | None


def read(folder: Path, ids: Iterable[str]) -> Iterator[VolumeSample]:
    """Yield the samples named by `ids` (file names will do), turned as `promptless.io.scans` turns them."""
    for name in (file.removesuffix(SUFFIX) for file in ids):
        yield opened(name, *files(folder, name))


def files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a scan and of its labels."""
    image, labels = (folder / part / f"{name}{SUFFIX}" for part in ("images", "labels"))
    if not image.is_file():
        raise FileNotFoundError(f"{image} is missing; does the split belong to another data set?")
    if not labels.is_file():
        raise FileNotFoundError(f"{labels} is missing; add the labels of the scan, or take {name} out of split.json")
    return image, labels


def opened(name: str, image: Path, labels: Path, frame: int | None = None) -> VolumeSample:
    """Return a scan with its labels; of a file of several frames, the one that is asked for."""
    scan = scans.read(image, frame=frame)
    return VolumeSample(name, scan, scans.read_labels(labels, scan))


def put(folder: Path, original: Original, classes: Mapping[int, str]) -> Entry:
    """Put a scan and its labels into a prepared folder: copied where they need not change."""
    from promptless.io.scans import nifti

    sample = original.sample
    voxels = counted(sample, classes)
    image, labels = (folder / name / f"{sample.id}{SUFFIX}" for name in ("images", "labels"))
    for path in (image, labels):
        path.parent.mkdir(exist_ok=True)
    nifti.copy(original.image, image, sample.image.origin.page)
    if original.labels is None:
        nifti.write_voxels(nifti.as_stored(sample.labels, sample.image), sample.image, labels)
    else:
        nifti.copy(original.labels, labels)
    spacing = [round(length, 6) for length in sample.image.spacing or ()]
    return {"id": sample.id, "shape": sample.labels.shape, "spacing": spacing, "voxels": voxels}


def counted(sample: VolumeSample, classes: Mapping[int, str]) -> dict[int, int]:
    """Return how many voxels each class has in a scan; a class that the set does not have is refused."""
    values, voxels = np.unique(sample.labels[sample.labels > 0], return_counts=True)
    wrong = [value for value in values.tolist() if value not in classes]
    if wrong:
        names = ", ".join(f"{value} {name}" for value, name in classes.items())
        raise ValueError(
            f"{sample.id}: its labels have class {wrong[0]}, one of {len(wrong)} outside the classes of the set, "
            f"{names}"
        )
    return dict(zip(values.tolist(), voxels.tolist(), strict=True))


SCANS = Layout(
    frozenset({"images", "labels"}),
    put,
    "voxels",
    "labels",
    "is it the folder that the set was unpacked into, and the right kind of set?",
)
