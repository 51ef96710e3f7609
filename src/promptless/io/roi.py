"""ImageJ ROIs: an archive that ImageJ's ROI Manager opens, one outline along pixel edges per object."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import roifile
import shapely

from promptless.image import Shape
from promptless.io.geojson import numbers
from promptless.io.outlines import fill, outline
from promptless.labels import Painted
from promptless.masks import Mask
from promptless.result import Told

AREAS = tuple(getattr(roifile.ROI_TYPE, name) for name in ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED"))
"""Kinds of ROIs that have an inside; composites are rectangles to the format."""
MOVE, LINE, CLOSE = 0.0, 1.0, 4.0
"""Commands of a path, as java.awt.geom.PathIterator numbers them."""


def write(segmentation: Told, path: Path) -> None:
    """Write a ROI zip; each ROI is named by its label and lies on the first slice."""
    write_parts([segmentation], path)


def write_parts(parts: Iterable[Told], path: Path) -> None:
    """Write the objects of all parts, one after the other."""
    found = ((number, mask) for part in parts for number, mask in zip(part.masks.ids, part.masks, strict=True))
    roifile.roiwrite(path, (roi(mask, str(number)) for number, mask in found), mode="w")


def opened(path: Path, shape: Shape) -> Painted:
    """Return the label image (y, x) of `shape` that a ROI zip describes, painted where it is sliced.

    A ROI whose name is a number that no other has keeps it as its label, as in GeoJSON; lines and points have no
    pixels; the later one is on top where two overlap.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [
                roifile.ImagejRoi.frombytes(archive.read(entry))
                for entry in archive.namelist()
                if entry.lower().endswith(".roi")
            ]
        names = [entry.name for entry in found]
        areas = [entry if entry.roitype in AREAS else None for entry in found]
        shapes = [shapely.MultiPolygon() if entry is None else area(entry) for entry in areas]
    except (zipfile.BadZipFile, ValueError, KeyError, struct.error, shapely.errors.ShapelyError) as error:
        raise ValueError(f"{path} cannot be read as an archive of ImageJ ROIs ({error})") from error
    frame = shapely.box(0, 0, shape[1], shape[0])
    outside = sum(not (outlines.is_empty or outlines.intersects(frame)) for outlines in shapes)
    if outside:
        size = " x ".join(map(str, shape))
        raise ValueError(f"{path} has {outside} ROIs outside an image of {size} (y, x) pixels; give its true shape")
    return Painted(shape, tuple(fill(outlines, shape) for outlines in shapes), tuple(numbers(names)))


def area(entry: roifile.ImagejRoi) -> shapely.MultiPolygon:
    """Return the rings of a ROI, of which `fill` takes what lies in an odd number of them."""
    rings = [np.asarray(ring, np.float64) for ring in entry.coordinates(multi=True)]
    return shapely.MultiPolygon([shapely.Polygon(ring) for ring in rings if len(ring) > 2])


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
