"""A data set as training reads it, whatever its source: images, label images and what is known of them, in a folder.

`images/ID.png` (or .tif), `masks/ID.png` (16-bit labels), `classes/ID.csv` (label,class) where classes are known,
`index.json` (a list, one entry per image), `dataset.json` (of the whole set), `split.json` (IDs of train, dev, test).
Scans lie as `promptless.data.volumes` says, with the same three JSON files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from promptless.data.sample import Sample
from promptless.io import labels, readers

INDEX, SET, SPLIT = "index.json", "dataset.json", "split.json"
UNSORTED = "unsorted"
"""The category of images of which none is known."""
S = TypeVar("S")
Entry = dict[str, Any]
"""What the index says of an image."""


@dataclass(frozen=True)
class Facts:
    """What is true of a whole data set; `classes` are names by class id, from 1."""

    name: str
    licence: str
    source: str
    classes: Mapping[int, str]


@dataclass(frozen=True)
class Layout(Generic[S]):
    """How labelled images of one kind lie in a prepared folder.

    `put` takes the folder, a sample and the names of the classes; it checks and writes the sample, and returns its
    entry in the index, whose `counted` is nothing where nothing is labelled. `labels` is what labels are called, and
    `pairing` how files are to be named so that those of an image are found.
    """

    folders: frozenset[str]
    put: Callable[[Path, S, Mapping[int, str]], Entry]
    counted: str
    labels: str
    pairing: str

    @property
    def content(self) -> frozenset[str]:
        """All that lies in a prepared folder."""
        return self.folders | {INDEX, SET, SPLIT}


def read(folder: Path, ids: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples named by `ids`, grey images with one channel and stained ones with three."""
    entries = {entry["id"]: entry for entry in index(folder)}
    for name in ids:
        if name not in entries:
            raise ValueError(f"{folder / INDEX} has no image {name!r}; does the split belong to another data set?")
        entry = entries[name]
        yield Sample(
            name,
            entry.get("category", UNSORTED),
            readers.read(image_path(folder, name)).data,
            labels.read(folder / "masks" / f"{name}.png"),
            entry.get("mpp"),
            read_classes(folder / "classes" / f"{name}.csv"),
        )


def index(folder: Path) -> list[Entry]:
    """Return what is known of each image."""
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; `data` must name the folder that holds it, images/ and masks/ "
            "(`promptless data prepare` makes one)"
        )
    content: list[Entry] = json.loads(path.read_text(encoding="utf-8"))
    return content


def class_names(folder: Path) -> dict[int, str]:
    """Return the names of the set's classes by number, nothing where it says none.

    A `dataset.json` of ours has them under "classes"; those of the Medical Segmentation Decathlon and of nnU-Net have
    them under "labels", number by name or name by number, with the background.
    """
    known = described(folder)
    if "classes" in known:
        return {int(value): str(name) for value, name in known["classes"].items()}
    return numbered(known.get("labels", {}), folder / SET)


def numbered(labels: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Return the names of classes by number, without the background, whichever of the two is the key."""
    pairs = ((key, value) if key.isdecimal() else (value, key) for key, value in labels.items())
    try:
        return {number: str(name) for number, name in sorted((int(number), name) for number, name in pairs) if number}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} has labels that are no numbers ({json.dumps(labels)[:80]}); regions of several classes are not "
            "read: give each class a number"
        ) from error


def facts(folder: Path) -> Facts:
    """Return what is known of a whole data set; one that says nothing goes by the name of its folder."""
    known = described(folder) or {"name": folder.resolve().name}
    return Facts(known["name"], known.get("licence", "unknown"), known.get("source", ""), class_names(folder))


def described(folder: Path) -> dict[str, Any]:
    """Return what `dataset.json` says, nothing where there is none."""
    path = folder / SET
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from error
    return content


def image_path(folder: Path, name: str) -> Path:
    """Return where an image lies."""
    png, tif = (folder / "images" / f"{name}{suffix}" for suffix in (".png", ".tif"))
    return tif if tif.is_file() else png


def read_classes(path: Path) -> dict[int, int]:
    """Return the class of each object by label, nothing where there is no such file."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"label", "class"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} needs the columns label and class")
        try:
            return {int(row["label"]): int(row["class"]) for row in rows}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} holds something else than whole numbers ({error})") from error


def write(
    folder: Path, layout: Layout[S], facts: Facts, split: Mapping[str, list[str]], samples: Iterable[S]
) -> list[Entry]:
    """Write a data set into an empty folder, the index last, and return that."""
    entries = [layout.put(folder, sample, facts.classes) for sample in samples]
    (folder / SET).write_text(json.dumps(asdict(facts), indent=1) + "\n", encoding="utf-8")
    (folder / SPLIT).write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    (folder / INDEX).write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n", encoding="utf-8")
    return entries


def put(folder: Path, sample: Sample, classes: Mapping[int, str]) -> Entry:
    """Write an image, its labels and the classes of its objects."""
    check(sample, classes)
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    write_image(folder / "images" / sample.id, sample.pixels)
    write_labels(folder / "masks" / f"{sample.id}.png", sample)
    if sample.classes:
        write_classes(folder / "classes" / f"{sample.id}.csv", sample.classes)
    known = {"id": sample.id, "shape": sample.labels.shape, "category": sample.category, "objects": sample.n_objects}
    return known if sample.mpp is None else known | {"mpp": sample.mpp}


def check(sample: Sample, classes: Mapping[int, str]) -> None:
    """Refuse classes that the set does not have, and those of objects that the image does not have."""
    wrong = {label: value for label, value in sample.classes.items() if value not in classes}
    if wrong:
        label, value = next(iter(wrong.items()))
        raise ValueError(
            f"{sample.id}: object {label} is of class {value}, one of {len(wrong)} outside the classes of the set, "
            f"{', '.join(f'{value} {name}' for value, name in classes.items()) or 'which has none (name them)'}"
        )
    absent = sorted(set(sample.classes) - set(np.unique(sample.labels).tolist()))
    if absent:
        raise ValueError(f"{sample.id}: there is a class for object {absent[0]}, but no such label in the image")


def write_image(stem: Path, pixels: NDArray[np.generic]) -> None:
    """Write what a PNG can hold as PNG, and all else as TIFF, without loss."""
    grey = len(pixels) == 1
    plane = pixels[0] if grey else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and grey):
        PillowImage.fromarray(plane).save(f"{stem}.png")
    else:
        kind = "minisblack" if grey else "rgb"
        tifffile.imwrite(f"{stem}.tif", plane, photometric=kind, compression="zlib", metadata=None)


def write_labels(path: Path, sample: Sample) -> None:
    """Write a 16-bit PNG."""
    if sample.labels.max(initial=0) > labels.LARGEST_UINT16:
        raise ValueError(f"{sample.id}: labels go up to {sample.labels.max()}, a 16-bit PNG to {labels.LARGEST_UINT16}")
    PillowImage.fromarray(sample.labels.astype(np.uint16)).save(path)


def write_classes(path: Path, classes: Mapping[int, int]) -> None:
    """Write the class of each object as CSV."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "class"), *sorted(classes.items())])


IMAGES = Layout(
    frozenset({"images", "masks", "classes"}),
    put,
    "objects",
    "masks",
    "name the masks of NAME.tif NAME_masks.tif, or alike in images/ and masks/",
)
