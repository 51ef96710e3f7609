"""COCO: the objects of an image as annotations with run-length masks, fields as Segment Anything writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from promptless.image import Shape
from promptless.io import classes
from promptless.io.outlines import fill
from promptless.labels import Painted
from promptless.masks import Mask, joined
from promptless.prompts import OBJECT
from promptless.result import Told, classes_in
from promptless.rle import decode_rle, encode_rles


def write(segmentation: Told, path: Path) -> None:
    """Write a file of one image, one line per object."""
    write_parts([segmentation], segmentation.image.shape, segmentation.manifest, path)


def write_parts(parts: Iterable[Told], shape: Shape, manifest: dict[str, Any], path: Path) -> None:
    """Write the objects of all parts of an image of `shape`."""
    height, width = shape
    source = manifest.get("input", {}).get("name", "")
    image = {"id": 1, "file_name": source, "height": height, "width": width}
    names: dict[int, str] = dict(enumerate(classes_in(manifest), start=1)) or classes.CLASSES
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"images": [{json.dumps(image)}],\n"annotations": [\n')
        between = ""
        for part in parts:
            names = names | classes.names(part)
            for entry in entries(part):
                file.write(between + json.dumps(entry))
                between = ",\n"
        categories = [
            {"id": value, "name": name, "supercategory": ""} for value, name in sorted(names.items()) if value
        ]
        file.write(f'\n],\n"categories": {json.dumps(categories)}}}\n')


def entries(segmentation: Told) -> Iterator[dict[str, Any]]:
    """Yield each object; its id is its label. What is not known (scores, points) is left out."""
    masks, shape = segmentation.masks, segmentation.image.shape
    points = {p.id: p.points[p.point_labels == OBJECT][:, ::-1].tolist() for p in segmentation.prompts.items}
    runs = encode_rles(masks.masks, shape)
    columns = masks.ids.tolist(), masks, runs, masks.scores, masks.stability, classes.values(segmentation).tolist()
    for number, mask, rle, score, stability, value in zip(*columns, strict=True):
        (y, x), (height, width) = mask.start, mask.pixels.shape
        entry = {
            "id": number,
            "image_id": 1,
            "category_id": value,
            "segmentation": rle,
            "bbox": [x, y, width, height],
            "area": mask.area,
            "iscrowd": 0,
        }
        quality = {"predicted_iou": round(float(score), 4), "stability_score": round(float(stability), 4)}
        entry |= {name: value for name, value in quality.items() if np.isfinite(value)}
        yield entry | ({"point_coords": points[number]} if points.get(number) else {})


def opened(path: Path, content: dict[str, Any]) -> tuple[Painted, dict[int, dict[str, Any]], tuple[str, ...]]:
    """Return the label image that COCO annotations of one image describe, painted where it is sliced.

    Also by label what is known of each object, by the names of the object table's columns, and the names of the
    classes where there are any but ours. Labels are the ids; the later one is on top where two overlap.
    """
    try:
        images, annotations = content["images"], content["annotations"]
        if len(images) != 1:
            raise ValueError(f"it is of {len(images)} images; leave one of them, with its annotations")
        shape = int(images[0]["height"]), int(images[0]["width"])
        masks = tuple(mask_of(entry["segmentation"], shape) for entry in annotations)
        ids = tuple(int(entry["id"]) for entry in annotations)
        names = {int(entry["id"]): str(entry["name"]) for entry in content.get("categories", ())}
        names = {number: name for number, name in names.items() if name != classes.UNTOLD}
        value_of = {number: value for value, number in enumerate(sorted(names), start=1)}
        rows = {number: known(entry, value_of) for number, entry in zip(ids, annotations, strict=True)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as COCO annotations of an image ({error})") from error
    if min(ids, default=1) < 1 or len(set(ids)) < len(ids):
        raise ValueError(f"{path} has annotations whose ids are not unique, or not above 0; ids become labels")
    told = () if set(names.values()) <= {classes.CLASSES[1]} else tuple(names[number] for number in sorted(names))
    return Painted(shape, masks, ids), rows, told


def known(entry: dict[str, Any], value_of: dict[int, int]) -> dict[str, Any]:
    """Return what an annotation says of its object."""
    found = {"score": entry.get("predicted_iou", "nan"), "stability": entry.get("stability_score", "nan")}
    return found | {"class": value_of.get(entry.get("category_id", 0), 0)}


def mask_of(segmentation: Any, shape: Shape) -> Mask:
    """Return the pixels of an annotation: run lengths, as they are or compressed, or polygons along x, y."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        runs = run_lengths(counts) if isinstance(counts, str) else counts
        return decode_rle({"size": segmentation["size"], "counts": runs}, shape)
    return joined([fill(shapely.Polygon(np.reshape(ring, (-1, 2))), shape) for ring in segmentation], len(shape))


def run_lengths(text: str) -> list[int]:
    """Return the run lengths in COCO's compressed form.

    Five bits per character from "0" on, the lowest first, a sixth where more follow; from the fourth on, what is told
    of a run is its difference to the run two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
