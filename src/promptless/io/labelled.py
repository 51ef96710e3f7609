"""Objects out of files that hold nothing else: label images, outlines, annotations; none of them need fit in memory."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scipy import ndimage

from promptless.image import Image, Shape
from promptless.io import classes, coco, geojson, label_files, ngff, readers
from promptless.io.hashes import sha256
from promptless.io.lazy.zarrs import UM
from promptless.io.outputs import WRITERS
from promptless.labels import LabelSource, Painted, as_masks, compacted
from promptless.masks import Mask, Masks, shared
from promptless.prompts import Prompts
from promptless.result import Part, Segmentation
from promptless.tiles import Region

GEOJSON = (".geojson", ".geojson.gz")
TABLES = (".csv", ".parquet")
ENDINGS = (".ome.zarr", ".ome.tif", ".ome.tiff", ".geojson.gz")
"""Suffixes of two parts."""
KINDS = ("labels", "rois", "coco", "objects")
"""What outputs add to the name of their image, behind a line."""
KNOWN = ("score", "stability", "tile_border", "class", "class_probability", "area")
"""Columns of the object table that say what cannot be measured, and the area, which tells whether they still hold."""
WHOLE = 2**26
"""An image of at most so many pixels is taken in one piece."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A label image, read as it is sliced, and what is known of it and of its objects.

    `spacing` is the size of a pixel in `unit`, `pitch` in pixels of the full image, which are smaller where a level of
    it was segmented. `rows` has what is known of objects by label, by the names of the object table's columns; where
    they are `bound` to an area, one of another size is another object. `manifest` says how the image was made.
    """

    labels: LabelSource
    spacing: tuple[float, ...] | None = None
    unit: str = "um"
    pitch: tuple[float, ...] = (1.0, 1.0)
    manifest: dict[str, Any] = field(default_factory=dict)
    rows: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    bound: bool = False
    notes: tuple[str, ...] = ()

    @property
    def image(self) -> Image:
        """The geometry."""
        return Image(np.zeros((0, *self.labels.shape), np.uint8), self.spacing, self.unit)

    def whole(self) -> Segmentation:
        """Return everything in memory."""
        found = label_files.int32(self.labels[:])
        return Segmentation(self.image, found, self.told(as_masks(found)), Prompts(found.shape), self.manifest)

    def parts(self) -> Iterator[Part]:
        """Yield the objects, in the order of their labels; of a large image region by region, at least one part."""
        for masks in gathered(self.labels):
            yield Part(self.image, self.told(masks), Prompts(self.labels.shape), self.manifest)

    def told(self, masks: Masks) -> Masks:
        """Return objects with what is known of them."""
        found = [self.rows.get(number, {}) for number in masks.ids.tolist()]
        if self.bound:
            areas = [mask.area for mask in masks]
            found = [
                row if float(row.get("area", area)) == area else {} for row, area in zip(found, areas, strict=True)
            ]
        return with_rows(masks, found)


def read(path: Path, shape: Shape | None = None) -> Segmentation:
    """Read what `opened` opens into memory."""
    return opened(path, shape).whole()


def opened(path: Path, shape: Shape | None = None) -> Labelled:
    """Open a label image (OME-Zarr included), or outlines in an image of `shape` (y, x): GeoJSON, ImageJ ROIs, COCO.

    Where the manifest of a run stands beside it, as NAME_manifest.json, that says the pixel size and the model,
    and outlines need no shape. Scores come from NAME_objects.csv, by label, where the file is as the run wrote it;
    of GeoJSON that was changed, from each object's own measurements; else they are not known.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix.lower() in TABLES:
        raise ValueError(f"{path} is a table, which has no pixels and no outlines; convert the labels it was made of")
    record = manifest(path)
    if path.name.lower().endswith((*GEOJSON, ".json")):
        content = of_coco(path)
        found = of_geojson(path, shape, record) if content is None else of_annotations(path, content, record)
    elif path.suffix.lower() == ".zip":
        found = of_rois(path, shape, record)
    else:
        found = of_pixels(path, record)
    return replace(found, notes=overlapping(found.labels)) if isinstance(found.labels, Painted) else found


def of_pixels(path: Path, record: dict[str, Any]) -> Labelled:
    """Open a label image."""
    image, about = label_files.read(path), record.get("image", {})
    spacing, unit = pixel_size(path, image)
    if about.get("spacing") and len(about["spacing"]) == len(image.shape):
        spacing, unit = tuple(about["spacing"]), about.get("unit", "um")
    pitch = tuple(about.get("downsample") or (1.0, 1.0))
    store = path.is_dir() and record.get("outputs", {}).get("labels", {}).get("file") == path.name
    rows = table(beside(path, "objects")) if store or untouched(path, record) else {}
    return Labelled(image.labels, spacing, unit, pitch, record, rows, store)


def pixel_size(path: Path, image: label_files.LabelImage) -> tuple[tuple[float, ...] | None, str]:
    """Return the size of a pixel, and its unit, where the file of a label image is sure of it."""
    if image.spacing is not None:
        return (tuple(s * UM["millimeter"] for s in image.spacing), "um") if path.is_dir() else (image.spacing, "mm")
    if label_files.suffix(path) not in (".tif", ".tiff"):
        return None, "um"
    with readers.opened(path) as source:
        spacing = source.scenes[0].spacing
    return (spacing if spacing is not None and len(spacing) == len(image.shape) else None), "um"


def of_geojson(path: Path, shape: Shape | None, record: dict[str, Any]) -> Labelled:
    """Open GeoJSON outlines."""
    shape, spacing = frame(path, shape, record)
    painted, measured = geojson.opened(path, shape)
    if untouched(path, record):
        return Labelled(painted, spacing, unit(record), manifest=record, rows=table(beside(path, "objects")))
    told = classed(record, measured)
    return Labelled(painted, spacing, unit(record), manifest=told, rows=numbered(measured, told))


def of_annotations(path: Path, content: dict[str, Any], record: dict[str, Any]) -> Labelled:
    """Open COCO annotations."""
    painted, rows, names = coco.opened(path, content)
    if untouched(path, record):
        rows = table(beside(path, "objects"))
    elif names:
        record = record | {"model": record.get("model", {}) | {"classes": list(names)}}
    about = record.get("image", {})
    return Labelled(
        painted, tuple(about["spacing"]) if about.get("spacing") else None, unit(record), (1.0, 1.0), record, rows
    )


def of_rois(path: Path, shape: Shape | None, record: dict[str, Any]) -> Labelled:
    """Open ImageJ ROIs."""
    try:
        from promptless.io import roi
    except ImportError as error:
        raise ImportError(f"ImageJ ROIs need {error.name}: pip install 'promptless[formats]'") from error
    shape, spacing = frame(path, shape, record)
    rows = table(beside(path, "objects")) if untouched(path, record) else {}
    return Labelled(roi.opened(path, shape), spacing, unit(record), manifest=record, rows=rows)


def frame(path: Path, shape: Shape | None, record: dict[str, Any]) -> tuple[Shape, tuple[float, ...] | None]:
    """Return the shape and pixel size of the full image that outlines lie in."""
    about = record.get("image", {})
    pitch = about.get("downsample") or (1.0, 1.0)
    known = tuple(round(n * step) for n, step in zip(about.get("shape", ())[1:], pitch, strict=False))
    spacing = tuple(s / step for s, step in zip(about.get("spacing") or (), pitch, strict=False)) or None
    if len(shape or known) != 2:
        raise ValueError(
            f"{path} does not say how large its image is; give its height and width (--shape), or the image (--like)"
        )
    return shape or known, spacing


def unit(record: dict[str, Any]) -> str:
    """Return the unit of lengths."""
    return str(record.get("image", {}).get("unit", "um"))


def of_coco(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of COCO annotations, None where it is another."""
    if not path.name.lower().endswith(".json"):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # who reads it as GeoJSON says what is wrong
        return None
    return content if isinstance(content, dict) and "annotations" in content else None


def overlapping(labels: Painted) -> tuple[str, ...]:
    """Return a note where objects lie over others, of which a label image keeps the topmost."""
    boxes = labels.boxes
    if labels.boxes.shape[1] != 2 or not len(boxes):
        return ()
    rectangles = shapely.box(boxes[:, 1, 0], boxes[:, 0, 0], boxes[:, 1, 1], boxes[:, 0, 1])
    below, above = shapely.STRtree(rectangles).query(rectangles)
    pairs = zip(below[below < above].tolist(), above[below < above].tolist(), strict=True)
    hidden = {i for i, j in pairs if shared(labels.masks[i], labels.masks[j])}
    if not hidden:
        return ()
    return (f"{len(hidden)} objects overlap others: each pixel is kept by the last of them",)


def gathered(labels: LabelSource) -> Iterator[Masks]:
    """Yield the objects of a label image: all of a small one, else those whose middle lies in each of its regions."""
    shape = labels.shape
    if prod(shape) <= WHOLE:
        yield as_masks(label_files.int32(labels[:]))
        return
    boxes = surveyed(labels)
    regions = ngff.blocks(shape)
    side = [s.stop for s in regions[0]]
    grid = tuple(-(-n // s) for n, s in zip(shape, side, strict=True))
    owned: dict[int, list[int]] = defaultdict(list)
    for number, (start, stop) in boxes.items():
        at = tuple((a + b) // 2 // s for a, b, s in zip(start, stop, side, strict=True))
        owned[int(np.ravel_multi_index(at, grid))].append(number)
    if not owned:
        yield Masks()
    for place in sorted(owned):
        yield within_region(labels, {number: boxes[number] for number in sorted(owned[place])})


Boxes = dict[int, tuple[Shape, Shape]]
"""Where objects begin and end, by label."""


def surveyed(labels: LabelSource) -> Boxes:
    """Return the box around every object, looking at one block of the image after the other."""
    boxes: Boxes = {}
    for region in ngff.blocks(labels.shape):
        dense, numbers = compacted(label_files.int32(labels[region]))
        for number, found in zip(numbers.tolist(), ndimage.find_objects(dense), strict=True):
            if found is None:
                continue
            start = tuple(r.start + s.start for r, s in zip(region, found, strict=True))
            stop = tuple(r.start + s.stop for r, s in zip(region, found, strict=True))
            if number in boxes:
                start = tuple(map(min, start, boxes[number][0]))
                stop = tuple(map(max, stop, boxes[number][1]))
            boxes[number] = start, stop
    return boxes


def within_region(labels: LabelSource, boxes: Boxes) -> Masks:
    """Return the objects in these boxes, reading what lies around all of them at once."""
    first = tuple(map(min, zip(*(start for start, _ in boxes.values()), strict=True)))
    last = tuple(map(max, zip(*(stop for _, stop in boxes.values()), strict=True)))
    pixels = np.asarray(labels[tuple(map(slice, first, last))])
    masks = []
    for number, (start, stop) in boxes.items():
        place: Region = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, first, strict=True))
        masks.append(Mask(start, pixels[place] == number))
    unknown = np.full(len(masks), np.nan, np.float32)
    return Masks(tuple(masks), np.array(list(boxes), np.int64), unknown, unknown, np.zeros(len(masks), bool))


def name(path: Path) -> str:
    """Return the NAME of a file that is called as the outputs are, else its stem."""
    lower = path.name.lower()
    ending = next((ending for ending in ENDINGS if lower.endswith(ending)), path.suffix)
    stem = path.name[: len(path.name) - len(ending)]
    return next((stem.removesuffix(f"_{kind}") for kind in KINDS if stem.endswith(f"_{kind}")), stem)


def beside(path: Path, kind: str) -> Path:
    """Return where the output of this kind stands that was written together with `path`."""
    return path.with_name(name(path) + WRITERS[kind].suffix)


def manifest(path: Path) -> dict[str, Any]:
    """Return the record of the run that wrote `path`; one that only names the file where there is none."""
    record = beside(path, "manifest")
    if not record.is_file():
        return {"input": {"name": path.name}}
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return content


def untouched(path: Path, record: dict[str, Any]) -> bool:
    """Return whether `path` is, byte by byte, one of the files that the run wrote."""
    hashes = [written.get("sha256") for written in record.get("outputs", {}).values()]
    return path.is_file() and sha256(path) in hashes


def table(path: Path) -> dict[int, dict[str, Any]]:
    """Return what the object table in a CSV file says of each label that cannot be measured."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {int(row["label"]): {name: row[name] for name in KNOWN if name in row} for row in csv.DictReader(file)}


def scored(masks: Masks, path: Path) -> Masks:
    """Return the objects with what the object table in a CSV file says of their labels."""
    rows = table(path)
    return with_rows(masks, [rows.get(number, {}) for number in masks.ids.tolist()])


def classed(record: dict[str, Any], rows: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a record that names the classes of objects: those of the run's model, if it has any, or that rows tell."""
    model = record.get("model", {})
    if model.get("classes"):
        return record
    names = dict.fromkeys(str(row["class_name"]) for row in rows.values() if row.get("class_name"))
    names.pop(geojson.called(classes.UNTOLD), None)
    plain = {geojson.called(name) for name in classes.CLASSES.values()}
    return record if names.keys() <= plain else record | {"model": {**model, "classes": list(names)}}


def numbered(rows: Mapping[int, Mapping[str, Any]], record: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return rows with the number of each named class among those that the run's model tells, 0 for any other.

    A person may have given the class: how probable it is to the model is not known.
    """
    names = {
        geojson.called(name): value for value, name in enumerate(record.get("model", {}).get("classes", ()), start=1)
    }
    given = {label: names.get(geojson.called(str(row.get("class_name", ""))), 0) for label, row in rows.items()}
    return {label: {**row, "class": given[label], "class_probability": "nan"} for label, row in rows.items()}


def with_rows(masks: Masks, found: list[Mapping[str, Any]]) -> Masks:
    """Return the objects with what is known of each, by the names of the object table's columns."""
    return replace(
        masks,
        scores=np.array([float(row.get("score", "nan")) for row in found], np.float32),
        stability=np.array([float(row.get("stability", "nan")) for row in found], np.float32),
        tile_border=np.array([row.get("tile_border") == "True" for row in found], bool),
        classes=np.array([int(row.get("class", 0)) for row in found], np.int64),
        class_probabilities=np.array([float(row.get("class_probability", "nan")) for row in found], np.float32),
    )
