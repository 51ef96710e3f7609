"""Objects out of files that hold nothing else: a label image, or outlines as GeoJSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from promptless.image import Image, Shape
from promptless.io import geojson, labels
from promptless.io.hashes import sha256
from promptless.io.outputs import WRITERS
from promptless.labels import as_masks
from promptless.masks import Masks
from promptless.prompts import Prompts
from promptless.result import Segmentation

GEOJSON = (".geojson", ".json")


def read(path: Path, shape: Shape | None = None) -> Segmentation:
    """Read a label image, or GeoJSON outlines in an image of `shape` (y, x).

    Where the manifest of a run stands beside it, as NAME_manifest.json, that says the pixel size and the model,
    and GeoJSON needs no shape. Scores come from NAME_objects.csv, by label, where the file is as the run wrote it;
    of GeoJSON that was changed, from each object's own measurements; else they are not known.
    """
    record = manifest(path)
    known = record.get("image", {})
    if path.suffix.lower() in GEOJSON:
        shape = shape or tuple(known.get("shape", ())[1:])
        if len(shape) != 2:
            raise ValueError(f"{path} does not say how large its image is; give its height and width (--shape)")
        found, measured = geojson.read_measured(path, shape)
    else:
        found, measured = labels.read(path), {}
    masks = as_masks(found)
    masks = (
        scored(masks, beside(path, "objects"))
        if untouched(path, record)
        else with_rows(masks, numbered(measured, record))
    )
    spacing = known.get("spacing")
    image = Image(np.zeros((0, *found.shape), np.uint8), tuple(spacing) if spacing else None, known.get("unit", "um"))
    return Segmentation(image, found, masks, Prompts(found.shape), record)


def name(path: Path) -> str:
    """Return the NAME of a file that is called as the outputs are, else its stem."""
    return path.stem.removesuffix("_labels")


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
    return sha256(path) in [written["sha256"] for written in record.get("outputs", {}).values()]


def scored(masks: Masks, table: Path) -> Masks:
    """Return the objects with what the object table in a CSV file says of their labels."""
    if not table.is_file():
        return masks
    with table.open(newline="", encoding="utf-8") as file:
        return with_rows(masks, {int(row["label"]): row for row in csv.DictReader(file)})


def numbered(rows: Mapping[int, Mapping[str, Any]], record: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return rows with the number of each named class among those that the run's model tells, 0 for any other.

    A person may have given the class: how probable it is to the model is not known.
    """
    names = {
        geojson.called(name): value for value, name in enumerate(record.get("model", {}).get("classes", ()), start=1)
    }
    given = {label: names.get(geojson.called(row.get("class_name", "")), 0) for label, row in rows.items()}
    return {label: {**row, "class": given[label], "class_probability": "nan"} for label, row in rows.items()}


def with_rows(masks: Masks, rows: Mapping[int, Mapping[str, Any]]) -> Masks:
    """Return the objects with what is known of their labels, by the names of the object table's columns."""
    found = [rows.get(number, {}) for number in masks.ids.tolist()]
    return replace(
        masks,
        scores=np.array([float(row.get("score", "nan")) for row in found], np.float32),
        stability=np.array([float(row.get("stability", "nan")) for row in found], np.float32),
        tile_border=np.array([row.get("tile_border") == "True" for row in found], bool),
        classes=np.array([int(row.get("class", 0)) for row in found], np.int64),
        class_probabilities=np.array([float(row.get("class_probability", "nan")) for row in found], np.float32),
    )
