"""PanNuke (Gamper et al. 2020, CC BY-NC-SA 4.0): three folds of `images.npy`, `masks.npy` and `types.npy`.

The files lie in folders that name their fold (`Fold 1/images/fold1/images.npy`, or `fold1/images.npy`) and are
mapped into memory. Folds 1, 2 and 3 are train, dev and test: one of the three rotations of the paper.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.data.prepared import IMAGES, Facts
from promptless.data.sample import Sample
from promptless.data.source import Source, files

CLASSES = {1: "Neoplastic", 2: "Inflammatory", 3: "Connective", 4: "Dead", 5: "Epithelial"}
FACTS = Facts("pannuke", "CC BY-NC-SA 4.0", "https://warwick.ac.uk/fac/cross_fac/tia/data/pannuke", CLASSES)
PARTS = {1: "train", 2: "dev", 3: "test"}
CHANNELS = len(CLASSES) + 1
"""Instances of each class, and the background."""
MPP = 0.25
Fold = dict[str, NDArray[Any]]


def read(folder: Path) -> Source[Sample]:
    """Find the folds and map their files."""
    folds = {number: mapped(number, paths) for number, paths in sorted(found(folder).items())}
    ids = {f"fold{n}_{i:04}": (fold, i) for n, fold in folds.items() for i in range(len(fold["images"]))}
    official = {f"fold{n}_{i:04}": PARTS[n] for n, fold in folds.items() for i in range(len(fold["images"]))}
    return Source(FACTS, IMAGES, tuple(ids), partial(load, ids), official)


def found(folder: Path) -> dict[int, dict[str, Path]]:
    """Return the files of each fold by what they hold."""
    paths: dict[int, dict[str, Path]] = defaultdict(dict)
    for path in files(folder, ".npy"):
        numbers = re.findall(r"fold[ _-]?([123])", str(path.relative_to(folder.parent)).lower())
        if numbers and path.stem in ("images", "masks", "types"):
            other = paths[int(numbers[-1])].setdefault(path.stem, path)
            if other != path:
                raise ValueError(f"{other} and {path} are both the {path.stem} of fold {numbers[-1]}; keep one")
    return paths


def mapped(number: int, paths: dict[str, Path]) -> Fold:
    """Return the arrays of a fold, whose lengths agree."""
    missing = {"images", "masks", "types"} - set(paths)
    if missing:
        raise FileNotFoundError(f"fold {number} lacks {' and '.join(f'{name}.npy' for name in sorted(missing))}")
    fold = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in paths.items()}
    lengths = {name: len(array) for name, array in fold.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"fold {number} has {lengths}; every image needs masks and a type")
    if fold["masks"].ndim != 4 or fold["masks"].shape[-1] != CHANNELS:
        raise ValueError(
            f"{paths['masks']} has the shape {fold['masks'].shape}; masks are (n, y, x, {CHANNELS}): "
            f"{', '.join(CLASSES.values())}, background"
        )
    return fold


def load(places: dict[str, tuple[Fold, int]], name: str) -> Sample:
    """Return one image; its category is its tissue."""
    fold, i = places[name]
    pixels = np.moveaxis(np.asarray(fold["images"][i]), -1, 0).astype(np.uint8)
    labels, classes = instances(np.asarray(fold["masks"][i]), name)
    return Sample(name, str(fold["types"][i]), pixels, labels, MPP, classes)


def instances(masks: NDArray[Any], name: str) -> tuple[NDArray[np.int32], dict[int, int]]:
    """Return labels, and the class of each, out of instance numbers (*spatial, class).

    Numbers may come again in another class. A pixel of two classes belongs to the first.
    """
    labels, classes = np.zeros(masks.shape[:-1], np.int32), dict[int, int]()
    for value, kind in CLASSES.items():
        numbers = masks[..., value - 1]
        if (numbers != np.floor(numbers)).any() or (numbers < 0).any():
            raise ValueError(f"{name}: the masks of {kind} are no instance numbers but hold fractions")
        free = (numbers > 0) & (labels == 0)
        own, order = np.unique(numbers[free], return_inverse=True)
        labels[free] = len(classes) + 1 + order
        classes |= dict.fromkeys(range(len(classes) + 1, len(classes) + 1 + len(own)), value)
    return labels, classes
