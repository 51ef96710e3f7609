"""2018 Data Science Bowl (BBBC038, CC0) as Kaggle has it.

`stage1_train/ID/images/*.png` with a mask per nucleus in `stage1_train/ID/masks/*.png`, or without these and
with run-length files (`stage1_train_labels.csv`, `stage1_solution.csv`: ImageId, EncodedPixels) anywhere beside.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.data.prepared import IMAGES, Facts
from promptless.data.sample import Sample
from promptless.data.source import Source, both, files
from promptless.image import Shape
from promptless.io import label_files, labels, readers
from promptless.labels import laid
from promptless.masks import Mask

FACTS = Facts("dsb2018", "CC0-1.0", "https://bbbc.broadinstitute.org/BBBC038", {1: "nucleus"})
COLUMNS = {"ImageId", "EncodedPixels"}
WHITE, BRIGHT = 194, 127
"""Backgrounds whose median in every channel lies above are white where stained, bright where grey."""


def read(folder: Path) -> Source[Sample]:
    """Find the images and their masks; those of `stage1_test` are test, where a file has their masks."""
    pictures = files(folder, ".png")
    images: dict[str, Path] = {}
    for path in pictures:
        if path.parent.name == "images" and images.setdefault(path.parent.parent.name, path) != path:
            raise ValueError(
                f"{path.parent} holds several images, and a folder of this data set holds one; of a prepared folder "
                "train reads images and masks as they are, of another say `promptless data prepare folder`"
            )
    masks: dict[str, list[Path]] = defaultdict(list)
    for path in pictures:
        if path.parent.name == "masks":
            masks[path.parent.parent.name].append(path)
    runs = run_lengths(files(folder, ".csv"))
    ids, unpaired = both(images, masks.keys() | runs.keys())
    official = {name: "test" for name in ids if "stage1_test" in images[name].parts}
    return Source(FACTS, IMAGES, ids, partial(load, images, masks, runs), official, unpaired=unpaired)


def run_lengths(tables: Iterable[Path]) -> dict[str, list[str]]:
    """Return each image's runs, one text per nucleus, out of the tables that have such columns."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in tables:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if set(rows.fieldnames or ()) >= COLUMNS:
                for row in rows:
                    found[row["ImageId"]].append(row["EncodedPixels"])
    return found


def load(images: dict[str, Path], masks: dict[str, list[Path]], runs: dict[str, list[str]], name: str) -> Sample:
    """Return one image; a pixel of two nuclei belongs to the first."""
    pixels = readers.read(images[name]).data
    shape = pixels.shape[1:]
    if name in masks:
        objects = [read_mask(path, shape) for path in masks[name]]
    else:
        objects = [decoded(text, shape, name) for text in runs[name]]
    found, _ = laid(objects, shape)
    return Sample(name, category(pixels, found), pixels, found)


def read_mask(path: Path, shape: Shape) -> Mask:
    """Return the nucleus in a mask file, which must be as large as the image."""
    pixels = labels.read(path) > 0
    if pixels.shape != shape:
        raise label_files.UnreadableLabelsError(f"{path} is {pixels.shape} but its image is {shape}; they must agree")
    return Mask((0,) * len(shape), pixels).trimmed()


def decoded(text: str, shape: Shape, name: str) -> Mask:
    """Return the nucleus in pairs "start length": pixels counted from 1, the first axis fastest."""
    words = text.split()
    if len(words) % 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"{name}: the runs {text[:40]!r} are no pairs of start and length")
    starts, lengths = np.array(words, np.int64).reshape(-1, 2).T
    stops = starts - 1 + lengths
    if len(words) and (starts.min() < 1 or stops.max() > np.prod(shape)):
        raise ValueError(f"{name}: runs reach beyond the {' x '.join(map(str, shape))} pixels of the image")
    flat = np.zeros(int(np.prod(shape)), bool)
    for start, stop in zip(starts - 1, stops, strict=True):
        flat[start:stop] = True
    return Mask((0,) * len(shape), flat.reshape(shape, order="F")).trimmed()


def category(pixels: NDArray[np.generic], found: NDArray[np.int32]) -> str:
    """Return the kind of microscopy, told from the brightness outside the nuclei.

    It agrees with how all 664 training images were sorted by eye.
    """
    outside = (found == 0) | (found > 0).all()
    darkest = min(float(np.median(channel[outside])) for channel in pixels)
    if len(pixels) == 3:
        return "HE_purple_on_white" if darkest > WHITE else "HE_purple_on_purple"
    return "brightfield_grey" if darkest > BRIGHT else "fluorescence_grey"
