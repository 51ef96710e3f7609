"""The object table: columns under scikit-image's regionprops names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Image, Shape
from promptless.labels import objects
from promptless.masks import Mask, Masks
from promptless.morphometry import Pixels, shapes
from promptless.strips import strips

LENGTHS = ("major_axis_length", "minor_axis_length", "perimeter", "equivalent_diameter")

Columns = dict[str, NDArray[Any]]


def measure(labels: NDArray[np.integer], image: Image, masks: Masks) -> Columns:
    """Return one row per object of `labels`; `masks` has them in the same order.

    Lengths and areas are in pixels, and also in the image's unit where its spacing is known.
    """
    found = objects(labels)
    columns = {"label": np.array(list(found), np.int64)} | measured(image, list(found.values()), (0,) * labels.ndim)
    return columns | told(masks)


def table(image: Image, masks: Masks, names: Sequence[str]) -> Columns:
    """Return the whole object table of some objects of an image, of which only what lies around them is read.

    `names` are those of the classes.
    """
    box = masks.reach(len(image.shape))
    region = tuple(slice(int(a), max(int(a) + 1, int(b))) for a, b in box)
    crop = Image(image.data[:, *region], image.spacing, image.unit, channel_names=image.channel_names)
    columns = measured(crop, list(masks), tuple(s.start for s in region))
    return {"label": masks.ids} | columns | told(masks) | kinds(masks, names)


def measured(image: Image, masks: Sequence[Mask], start: Shape) -> Columns:
    """Return what is measured of objects; `image` is that part of the image that begins at pixel `start`."""
    if not masks:
        one = measured(image, [Mask(start, np.ones((1,) * len(start), np.bool_))], start)
        return {name: values[:0] for name, values in one.items()}
    parts = [table_of(pixels, image, start) for pixels in map(Pixels, strips(masks))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return columns | physical(columns, image)


def table_of(pixels: Pixels, image: Image, start: Shape) -> Columns:
    """Return area, box, position, shape and mean intensities of the objects of a strip."""
    areas, edges = pixels.areas, np.concatenate([pixels.strip.starts, pixels.strip.stops], axis=1)
    return {
        "area": areas,
        **{f"bbox-{i}": edge for i, edge in enumerate(edges.T)},
        **{f"centroid-{axis}": centre for axis, centre in enumerate(pixels.centroids + pixels.strip.starts.T)},
        "equivalent_diameter": (2 * len(start) * areas / np.pi) ** (1 / len(start)),
        **(shapes(pixels) if len(start) == 2 else {}),
        **intensities(pixels, image, start),
    }


def intensities(pixels: Pixels, image: Image, start: Shape) -> Columns:
    """Return the mean intensity of each object in every channel of that part of an image that begins at `start`."""
    places = tuple(at - first for at, first in zip(pixels.in_image, start, strict=True))
    names = image.channel_names or range(len(image.data))
    with np.errstate(invalid="ignore"):  # infinite pixels, of which the mean is no number
        return {
            f"mean_intensity-{name}": pixels.sums(channel[places]) / pixels.areas
            for name, channel in zip(names, image.data, strict=True)
        }


def told(masks: Masks) -> Columns:
    """Return the columns of what the model says of each object."""
    return {"score": masks.scores, "stability": masks.stability, "tile_border": masks.tile_border}


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
