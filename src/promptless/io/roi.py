"""ImageJ ROIs: an archive that ImageJ's ROI Manager opens, one outline along pixel edges per object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roifile
import shapely

from promptless.io.outlines import outline
from promptless.masks import Mask
from promptless.result import Segmentation

MOVE, LINE, CLOSE = 0.0, 1.0, 4.0
"""Commands of a path, as java.awt.geom.PathIterator numbers them."""


def write(segmentation: Segmentation, path: Path) -> None:
    """Write a ROI zip; each ROI is named by its label and lies on the first slice."""
    found = zip(segmentation.masks.ids, segmentation.masks, strict=True)
    roifile.roiwrite(path, [roi(mask, str(number)) for number, mask in found], mode="w")


def roi(mask: Mask, name: str) -> roifile.ImagejRoi:
    """Return an object as ImageJ's wand would trace it; one with holes or several parts as a composite."""
    shape = outline(mask)
    rings = shapely.get_rings(shapely.get_parts(shape))
    if len(rings) == 1:
        made = roifile.ImagejRoi.frompoints(shapely.get_coordinates(shape)[:-1].astype(int), name=name, position=0)
        made.roitype = roifile.ROI_TYPE.TRACED
    else:
        steps = np.concatenate([commands(ring) for ring in rings]).astype(np.float32)
        made = roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.RECT,
            name=name,
            position=1,
            shape_roi_size=len(steps),
            multi_coordinates=steps,
        )
    made.left, made.top, made.right, made.bottom = map(int, shape.bounds)
    return made


def commands(ring: shapely.LinearRing) -> list[float]:
    """Return a ring as the path commands that make up a composite ROI, whose inside is by the even-odd rule."""
    (x, y), *others = shapely.get_coordinates(ring)[:-1]
    return [MOVE, x, y, *(value for point in others for value in (LINE, *point)), CLOSE]
