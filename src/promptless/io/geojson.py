"""GeoJSON as QuPath reads it: a polygon per object, along pixel edges, so that rasterising gives the labels back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from promptless.masks import Mask
from promptless.result import Segmentation


def write(segmentation: Segmentation, path: Path) -> None:
    """Write the objects as a FeatureCollection, one line each, in pixels of the full image."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [\n')
        for i, entry in enumerate(features(segmentation)):
            file.write((",\n" if i else "") + json.dumps(entry))
        file.write("\n]}\n")


def features(segmentation: Segmentation) -> Iterator[dict[str, Any]]:
    """Yield each object as a GeoJSON feature with QuPath's properties."""
    masks = segmentation.masks
    for number, mask, score, stability in zip(masks.ids, masks, masks.scores, masks.stability, strict=True):
        yield {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(outline(mask)),
            "properties": {
                "objectType": "detection",
                "name": str(number),
                "isLocked": False,
                "classification": {"name": "Nucleus", "color": [255, 200, 0]},
                "measurements": {
                    "area": mask.area,
                    "score": round(float(score), 4),
                    "stability": round(float(stability), 4),
                },
            },
        }


def outline(mask: Mask) -> shapely.Geometry:
    """Return the object's pixels as a polygon in x, y, pixel (0, 0) reaching from (0, 0) to (1, 1).

    Parts that meet at a corner only are separate polygons.
    """
    padded = np.pad(mask.pixels, ((0, 0), (1, 1))).astype(np.int8)
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, stops = np.nonzero(np.diff(padded, axis=1) == -1)
    y, x = mask.start
    runs = shapely.box(starts + x, rows + y, stops + x, rows + y + 1)
    return shapely.normalize(shapely.simplify(shapely.union_all(runs), 0))
