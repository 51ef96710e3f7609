"""The object table: columns under scikit-image's regionprops names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from promptless.image import Image, Shape
from promptless.labels import compacted, laid
from promptless.masks import Masks

PIXEL_PROPERTIES = ("label", "area", "bbox", "centroid")
PLANE_PROPERTIES = (
    "eccentricity",
    "major_axis_length",
    "minor_axis_length",
    "orientation",
    "perimeter",
    "solidity",
)
LENGTHS = ("major_axis_length", "minor_axis_length", "perimeter", "equivalent_diameter")
MODERN_NAMES = {
    "equivalent_diameter": "equivalent_diameter_area",
    "major_axis_length": "axis_major_length",
    "minor_axis_length": "axis_minor_length",
    "mean_intensity": "intensity_mean",
}

Columns = dict[str, NDArray[Any]]


def measure(labels: NDArray[np.integer], image: Image, masks: Masks, start: Shape = ()) -> Columns:
    """Return one row per object of `labels`; `masks` has them in the same order.

    Lengths and areas are in pixels, and also in the image's unit where its spacing is known. Where `image` is a part
    of a larger one, `start` is the pixel of that at which it begins, and positions are those in the larger one.
    """
    names = [
        *PIXEL_PROPERTIES,
        "equivalent_diameter",
        *(PLANE_PROPERTIES if labels.ndim == 2 else ()),
        "mean_intensity",
    ]
    asked = [MODERN_NAMES.get(name, name) for name in names]
    dense, values = compacted(labels)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite pixels, of which the mean is no number
        table = regionprops_table(dense, np.moveaxis(image.data, 0, -1), asked)
    columns = {named(column, image): measured for column, measured in table.items()}
    columns["label"] = values[columns["label"].astype(np.int64) - 1]
    for axis, first in enumerate(start):
        for name in (f"bbox-{axis}", f"bbox-{axis + len(start)}", f"centroid-{axis}"):
            columns[name] = columns[name] + first
    columns |= physical(columns, image)
    return columns | {
        "score": masks.scores,
        "stability": masks.stability,
        "tile_border": masks.tile_border,
    }


def table(image: Image, masks: Masks, names: Sequence[str]) -> Columns:
    """Return the whole object table of some objects of an image, of which only what lies around them is read.

    `names` are those of the classes.
    """
    box = masks.reach(len(image.shape))
    region = tuple(slice(int(a), max(int(a) + 1, int(b))) for a, b in box)
    start = tuple(s.start for s in region)
    crop = Image(image.data[:, *region], image.spacing, image.unit, channel_names=image.channel_names)
    labels, _ = laid([mask.moved(tuple(-a for a in start)) for mask in masks], crop.shape)
    columns = measure(labels, crop, masks, start) | kinds(masks, names)
    return columns | {"label": masks.ids}


def kinds(masks: Masks, names: Sequence[str]) -> Columns:
    """Return the columns about the class of each object, none where no classes are told (no `names`).

    An object of unknown class is of class 0, without a name.
    """
    if not names:
        return {}
    return {
        "class": masks.classes,
        "class_name": np.array(["", *names])[masks.classes],
        "class_probability": masks.class_probabilities,
    }


def named(column: str, image: Image) -> str:
    """Return the field's name for one of regionprops_table's columns."""
    old = {modern: name for name, modern in MODERN_NAMES.items()}
    base, _, channel = column.partition("-")
    base = old.get(base, base)
    if base == "mean_intensity" and channel and image.channel_names:
        channel = image.channel_names[int(channel)]
    return f"{base}-{channel}" if channel else base


def physical(columns: Columns, image: Image) -> Columns:
    """Return areas, lengths and centroids in the image's unit, nothing where its spacing is not known.

    Lengths are converted where pixels are as long along every axis; else only areas and centroids are.
    """
    if image.spacing is None:
        return {}
    unit, spacing = image.unit, image.spacing
    size = {2: "area", 3: "volume"}.get(len(spacing), "size")
    out = {f"{size}_{unit}{len(spacing)}": columns["area"] * float(np.prod(spacing))}
    out |= {f"centroid_{unit}-{axis}": columns[f"centroid-{axis}"] * step for axis, step in enumerate(spacing)}
    if max(spacing) - min(spacing) < 1e-3 * max(spacing):
        out |= {f"{name}_{unit}": columns[name] * spacing[0] for name in LENGTHS if name in columns}
    return out
