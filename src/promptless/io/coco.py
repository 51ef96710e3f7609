"""COCO: the objects of an image as annotations with run-length masks, fields as Segment Anything writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from promptless.io import classes
from promptless.masks import encode_rle
from promptless.prompts import OBJECT
from promptless.result import Segmentation


def write(segmentation: Segmentation, path: Path) -> None:
    """Write a file of one image, one line per object."""
    height, width = segmentation.labels.shape
    source = segmentation.manifest.get("input", {}).get("name", "")
    image = {"id": 1, "file_name": source, "height": height, "width": width}
    found = classes.names(segmentation)
    categories = [{"id": value, "name": name, "supercategory": ""} for value, name in found.items() if value]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"images": [{json.dumps(image)}],\n"categories": {json.dumps(categories)},\n"annotations": [\n')
        for i, entry in enumerate(entries(segmentation)):
            file.write((",\n" if i else "") + json.dumps(entry))
        file.write("\n]}\n")


def entries(segmentation: Segmentation) -> Iterator[dict[str, Any]]:
    """Yield each object; its id is its label. What is not known (scores, points) is left out."""
    masks, shape = segmentation.masks, segmentation.labels.shape
    points = {p.id: p.points[p.point_labels == OBJECT][:, ::-1].tolist() for p in segmentation.prompts.items}
    columns = masks.ids.tolist(), masks, masks.scores, masks.stability, classes.values(segmentation).tolist()
    for number, mask, score, stability, value in zip(*columns, strict=True):
        (y, x), (height, width) = mask.start, mask.pixels.shape
        entry = {
            "id": number,
            "image_id": 1,
            "category_id": value,
            "segmentation": encode_rle(mask, shape),
            "bbox": [x, y, width, height],
            "area": mask.area,
            "iscrowd": 0,
        }
        quality = {"predicted_iou": round(float(score), 4), "stability_score": round(float(stability), 4)}
        entry |= {name: value for name, value in quality.items() if np.isfinite(value)}
        yield entry | ({"point_coords": points[number]} if points.get(number) else {})
