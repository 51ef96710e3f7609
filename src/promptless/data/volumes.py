"""Labelled scans as training reads them.

A folder of `images/ID.nii.gz` and `labels/ID.nii.gz` on the same grid, `split.json` (IDs of train, dev, test) and,
where they are known, the names of the classes in `dataset.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.image import Image
from promptless.io.scans import nifti

SUFFIX = ".nii.gz"


@dataclass(frozen=True, eq=False)
class VolumeSample:
    """A scan (1, z, y, x) with the class of each voxel (z, y, x), 0 background."""

    id: str
    image: Image
    labels: NDArray[np.integer]


def read(folder: Path, ids: Iterable[str]) -> Iterator[VolumeSample]:
    """Yield the samples named by `ids` (file names will do), turned as `promptless.io.scans` turns them."""
    for name in (file.removesuffix(SUFFIX) for file in ids):
        path = folder / "images" / f"{name}{SUFFIX}"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; does the split belong to another data set?")
        image = nifti.read(path)
        yield VolumeSample(name, image, nifti.read_labels(folder / "labels" / f"{name}{SUFFIX}", image))
