"""Scans as training reads them: brought to the model's spacing and intensities once, then looked at piece by piece."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.config import VolumeConfig
from promptless.data import volumes
from promptless.data.volumes import VolumeSample
from promptless.image import Image, Shape
from promptless.intensity import finite, standardised, window_of
from promptless.io.atomic import alone, replacing_folder
from promptless.io.hashes import sha256
from promptless.resample import resample, spaced

Told = Callable[[float, str], None]
"""Told which share is done, and what is being done."""
IMAGE, LABELS, FOREGROUND, SEEN = "image.npy", "labels.npy", "foreground.npy", "seen.json"
"""Files of a case; the last says how it was brought there."""


@dataclass(frozen=True, eq=False)
class Case:
    """A scan (z, y, x) as a model sees it, with the class of each voxel; both may lie on disk.

    `foreground` has the places of all voxels of any class, counted along the flattened scan.
    """

    id: str
    image: NDArray[np.float32]
    labels: NDArray[np.integer]
    foreground: NDArray[np.integer]


def ready(
    data: Path,
    ids: Sequence[str],
    volume: VolumeConfig,
    n_classes: int,
    folder: Path,
    tell: Told = lambda done, text: None,
) -> list[Case]:
    """Return the cases of labelled scans, each kept in a folder of its own in `folder`, and made where it is not there.

    Scans are interpolated linearly, and so is the chance of every class, of which the likeliest is taken. A case is
    made again where its files have changed, or are seen otherwise.
    """
    cases = []
    for i, file in enumerate(ids):
        name = file.removesuffix(volumes.SUFFIX)
        tell(i / len(ids), f"reading {name}")
        seen = {**said(volume), "classes": n_classes, "sha256": [sha256(file) for file in volumes.files(data, name)]}
        cases.append(kept(folder / name, seen, partial(labelled, data, name, volume, n_classes)))
    return cases


def kept(place: Path, seen: dict[str, object], make: Callable[[], Case]) -> Case:
    """Return the case in a folder; where there is none that was `seen` so, it is made."""
    if told(place) != seen:
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place.parent):  # of processes that train together one makes it, and the others wait
            if told(place) != seen:
                keep(place, make(), seen)
    return Case(place.name, *(np.load(place / file, mmap_mode="r") for file in (IMAGE, LABELS, FOREGROUND)))


def labelled(data: Path, name: str, volume: VolumeConfig, n_classes: int) -> Case:
    """Return a labelled scan as the model sees it."""
    (sample,) = volumes.read(data, [name])
    check(sample, n_classes)
    return looked_at(sample, volume)


def check(sample: VolumeSample, n_classes: int) -> None:
    """Refuse labels of classes that the model does not have."""
    highest = int(sample.labels.max(initial=0))
    if highest > n_classes:
        raise ValueError(
            f"{sample.id} has the label {highest}, and the recipe names {n_classes} classes: name all of them in "
            "`classes`, in the order of the labels"
        )


def looked_at(sample: VolumeSample, volume: VolumeConfig) -> Case:
    """Return a sample as the model sees it."""
    image = image_at(sample.image, volume)
    return of(sample.id, image, labels_at(sample.labels, image.shape))


def of(name: str, image: NDArray[np.float32], labels: NDArray[np.integer]) -> Case:
    """Return a case of what a model sees, and the class of each voxel."""
    return Case(name, image, labels, np.flatnonzero(labels))


def image_at(image: Image, volume: VolumeConfig) -> NDArray[np.float32]:
    """Return a scan (z, y, x) at the model's spacing, with its intensities."""
    scan = image.data[0]
    window = window_of(scan, volume.intensity)
    return standardised(at(finite(scan, window), seen_shape(image, volume)), window)


def seen_shape(image: Image, volume: VolumeConfig) -> Shape:
    """Return how many voxels a scan has at the model's spacing, one at least."""
    spacing, shape = image.spacing, image.shape
    if volume.spacing is None or spacing is None:
        return shape
    return spaced(shape, spacing, volume.spacing)


def at(values: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """Return voxels on a grid of `shape` over the same box."""
    steps = tuple(n / m for n, m in zip(values.shape, shape, strict=True))
    return resample(values, shape, (0.0,) * len(shape), steps)


def labels_at(labels: NDArray[np.integer], shape: Shape) -> NDArray[np.integer]:
    """Return labels on another grid over the same box: the likeliest class, the lower one where two are as likely."""
    kind = np.uint8 if labels.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16
    if labels.shape == shape:
        return labels.astype(kind)
    found, best = np.zeros(shape, kind), np.zeros(shape, np.float32)
    for value in np.unique(labels):
        chance = at((labels == value).astype(np.float32), shape)
        np.copyto(found, kind(value), where=chance > best)
        np.maximum(best, chance, out=best)
    return found


def keep(place: Path, case: Case, seen: dict[str, object]) -> None:
    """Write a case into its folder, whole or not at all."""
    with replacing_folder(place) as aside:
        for file, values in ((IMAGE, case.image), (LABELS, case.labels), (FOREGROUND, case.foreground)):
            np.save(aside / file, values)
        (aside / SEEN).write_text(json.dumps(seen) + "\n", encoding="utf-8")


def said(volume: VolumeConfig) -> dict[str, object]:
    """Return what decides how a scan is seen, as JSON."""
    seen = {"spacing": volume.spacing, "intensity": asdict(volume.intensity)}
    plain: dict[str, object] = json.loads(json.dumps(seen))
    return plain


def told(place: Path) -> object:
    """Return what decided how a case was made, None where there is none."""
    path = place / SEEN
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
