"""The picture of a scan: three planes through what was found, as radiologists look at them, with contours and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from promptless.image import Image, Shape
from promptless.io.classes import Colour, colour
from promptless.io.overlay import cross, dot, stamp, two_wide
from promptless.normalise import intensity_range, scaled
from promptless.prompts import Points
from promptless.resample import resample
from promptless.result import VolumeSegmentation

Picture = NDArray[np.uint8]
TALL, WIDE = 560, 900
"""Pixels: no panel is taller or wider."""
GAP, LETTERS, LINE = 6, 15, 21
"""Pixels: between panels, the size of letters, and from one line of the legend to the next."""
FILLED = 0.22
"""How much of its colour a structure has inside its contour."""
AROUND = 20.0
"""Millimetres around what was found of which the grey values decide what is black and white."""
MARK = 12
"""Pixels: the size of a user's point."""
INK, PAPER, QUIET = (235, 235, 235), (16, 16, 18), (150, 150, 150)
HEAT: tuple[Colour, ...] = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""Colours from the least to the most (inferno)."""
VEIL = 0.65
"""How much of its colour a heat map has on the scan."""


@dataclass(frozen=True)
class View:
    """A way to cut a scan: the axis that is cut across, and the sides of the patient at the picture's four edges."""

    name: str
    axis: int
    top: str
    left: str
    bottom: str
    right: str


VIEWS = (
    View("axial", 0, "A", "R", "P", "L"),
    View("coronal", 1, "H", "R", "F", "L"),
    View("sagittal", 2, "H", "A", "F", "P"),
)
"""A scan is (z, y, x) towards head, front and right, and seen with the head up, right on the left: axes turn round."""


def overlay(segmentation: VolumeSegmentation) -> Picture:
    """Return three planes of a scan with a contour around every structure, and their names and volumes.

    A user's points are marked; the planes then meet at the last of them.
    """
    image, labels, points = segmentation.image, segmentation.labels, segmentation.points
    at = voxel(points) if points else middle(labels)
    low, high = contrast(image, labels, at)
    panels = []
    for view, size in zip(VIEWS, sizes(image), strict=True):
        grey = shown(image.data[0], view, at, size, low, high)
        picture = outlined(grey, enlarged(cut(labels, view, at), size))
        panels.append(captioned(marked(picture, view, at, labels.shape, points) if points else picture, view))
    return beside([*panels, legend(segmentation, panels[0].shape[0])])


def heat(segmentation: VolumeSegmentation) -> Picture:
    """Return three planes of a scan, and over them where the model's dense prompt is long."""
    image, labels, prompt = segmentation.image, segmentation.labels, segmentation.prompt
    if prompt is None:
        raise ValueError('the prompt was not kept; segment with keep=["prompt"]')
    at = middle(labels)
    low, high = contrast(image, labels, at)
    ends = [float(end(cut(prompt, view, at))) for end in (np.min, np.max) for view in VIEWS]
    least, most = min(ends[:3]), max(ends[3:])
    panels = []
    for view, size in zip(VIEWS, sizes(image), strict=True):
        grey = shown(image.data[0], view, at, size, low, high)
        tinted = blended(grey, heated(shown(prompt, view, at, size, least, most)), VEIL)
        lines = two_wide(enlarged(cut(labels, view, at), size))
        tinted[lines] = INK
        panels.append(captioned(tinted, view))
    return beside([*panels, ramp(least, most, panels[0].shape[0])])


def voxel(points: Points) -> Shape:
    """Return the voxel that the last of a user's points is at."""
    return tuple(int(place) for place in np.floor(points.coords[-1] + 0.5))


def marked(picture: Picture, view: View, at: Shape, shape: Shape, points: Points) -> Picture:
    """Return a panel with a user's points: a dot in the colour of a class, a cross for none; small beside the plane."""
    canvas = PillowImage.fromarray(picture)
    for place, label in zip(points.coords, points.labels.tolist(), strict=True):
        near = abs(place[view.axis] - at[view.axis]) <= 0.5
        y, x = (
            (1 - (where + 0.5) / n) * pixels
            for where, n, pixels in zip(across(place, view), across(shape, view), picture.shape, strict=False)
        )
        size = MARK if near else MARK // 2
        stamp(canvas, dot(size) if label else cross(size), colour(label) if label else INK, (y, x))
    return np.asarray(canvas)


def middle(labels: NDArray[np.integer]) -> Shape:
    """Return the voxel at which the planes meet: along each axis, half of all that is labelled lies on either side.

    Where nothing is labelled it is the middle of the scan.
    """
    counts = [np.zeros(n, np.int64) for n in labels.shape]
    for z, plane in enumerate(labels):
        inside = plane > 0
        counts[0][z] = np.count_nonzero(inside)
        counts[1] += inside.sum(axis=1)
        counts[2] += inside.sum(axis=0)
    halves = [int(np.searchsorted(np.cumsum(along), along.sum() / 2)) for along in counts]
    return tuple(halves) if counts[0].any() else tuple(n // 2 for n in labels.shape)


def contrast(image: Image, labels: NDArray[np.integer], at: Shape) -> tuple[float, float]:
    """Return the values that are black and white: by percentiles of the planes, near what is labelled."""
    values = []
    for view in VIEWS:
        plane, inside = cut(image.data[0], view, at), cut(labels, view, at) != 0
        if inside.any():
            reach = [int(AROUND / size) for size in across(spacing(image), view)]
            where = [np.flatnonzero(inside.any(axis=1 - i)) for i in (0, 1)]
            plane = plane[tuple(slice(max(0, w[0] - r), w[-1] + r + 1) for w, r in zip(where, reach, strict=True))]
        values.append(plane.reshape(-1))
    return intensity_range(np.concatenate(values))


def spacing(image: Image) -> tuple[float, ...]:
    """Return the size of a voxel; 1 where it is not known."""
    return image.spacing or (1.0,) * len(image.shape)


def across(values: Sequence[float], view: View) -> tuple[float, ...]:
    """Return what of three values, one per axis, belongs to the two axes of a plane."""
    return tuple(value for axis, value in enumerate(values) if axis != view.axis)


def sizes(image: Image) -> list[tuple[int, int]]:
    """Return the pixels (height, width) of each panel, so that a millimetre is as long everywhere."""
    lengths = [across([n * size for n, size in zip(image.shape, spacing(image), strict=True)], view) for view in VIEWS]
    scale = min(TALL / max(height for height, _ in lengths), WIDE / max(width for _, width in lengths))
    return [(max(1, round(height * scale)), max(1, round(width * scale))) for height, width in lengths]


def cut(values: NDArray[np.generic], view: View, at: Shape) -> NDArray[np.generic]:
    """Return a plane (2 axes) through `at`, as it is looked at."""
    return np.asarray(np.take(values, at[view.axis], axis=view.axis)[::-1, ::-1])


def shown(
    values: NDArray[np.generic], view: View, at: Shape, size: tuple[int, int], low: float, high: float
) -> NDArray[np.float32]:
    """Return a plane in [0, 1] at the size of its panel."""
    return stretched(scaled(cut(values, view, at)[None], low, high)[0], size)


def stretched(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a plane resampled to a size."""
    return resample(plane, size, (0.0, 0.0), tuple(n / m for n, m in zip(plane.shape, size, strict=True)))


def enlarged(labels: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.integer]:
    """Return labels at the size of a panel, with smooth borders."""
    found = np.unique(labels)
    shares = [stretched((labels == value).astype(np.float32), size) for value in found]
    return np.asarray(found[np.argmax(shares, axis=0)])


def outlined(grey: NDArray[np.float32], labels: NDArray[np.integer]) -> Picture:
    """Return a plane in grey with every structure in its colour: a light veil, and a contour."""
    tints = np.array([(0, 0, 0), *(colour(value) for value in range(1, int(labels.max()) + 1))], np.uint8)[labels]
    picture = blended(grey, tints, np.where(labels > 0, FILLED, 0)[..., None])
    lines = two_wide(labels)
    picture[lines] = tints[lines]
    return picture


def blended(grey: NDArray[np.float32], tints: Picture, share: float | NDArray[np.floating]) -> Picture:
    """Return colours laid over a plane in grey."""
    return np.asarray(255 * grey[..., None] * (1 - share) + tints * share).astype(np.uint8)


def heated(values: NDArray[np.float32]) -> Picture:
    """Return values from 0 to 1 as colours."""
    knots = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(values, knots, channel) for channel in zip(*HEAT, strict=True)], axis=-1).astype(
        np.uint8
    )


def captioned(picture: Picture, view: View) -> Picture:
    """Return a panel with its name, and the sides of the patient at its edges."""
    canvas = PillowImage.fromarray(picture)
    height, width = picture.shape[:2]
    places: list[tuple[str, tuple[float, float], str]] = [
        (view.name, (5, 4), "la"),
        (view.top, (width / 2, 4), "ma"),
        (view.bottom, (width / 2, height - 4), "md"),
        (view.left, (5, height / 2), "lm"),
        (view.right, (width - 5, height / 2), "rm"),
    ]
    for text, place, anchor in places:
        write(canvas, text, place, anchor)
    return np.asarray(canvas)


def write(canvas: PillowImage.Image, text: str, place: tuple[float, float], anchor: str, ink: Colour = INK) -> None:
    """Write a word with a dark rim, so that it shows on anything."""
    font = ImageFont.load_default(LETTERS)
    ImageDraw.Draw(canvas).text(place, text, ink, font, anchor=anchor, stroke_width=2, stroke_fill=PAPER)


def legend(segmentation: VolumeSegmentation, height: int) -> Picture:
    """Return the names of the structures in their colours, with their volumes, the largest first; in columns."""
    rows = [row for row in segmentation.structures.rows() if row["voxels"]]
    rows.sort(key=lambda row: -row["voxels"])
    lines = [(colour(row["label"]), f"{row['name']}  {amount(row)}") for row in rows] or [(QUIET, "nothing found")]
    per_column = max(1, (height - GAP) // LINE)
    return beside([column(lines[i : i + per_column]) for i in range(0, len(lines), per_column)])


def amount(row: dict[str, object]) -> str:
    """Return how large a structure is."""
    ml = float(str(row["ml"]))
    return f"{row['voxels']:,} voxels" if np.isnan(ml) else f"{ml:,.{1 if ml >= 10 else 2}f} ml"


def column(lines: Sequence[tuple[Colour, str]]) -> Picture:
    """Return lines of text, each behind a square of its colour."""
    font = ImageFont.load_default(LETTERS)
    width = max(font.getbbox(text)[2] for _, text in lines)
    canvas = PillowImage.new("RGB", (int(width) + 3 * LETTERS, GAP + LINE * len(lines)), PAPER)
    for i, (tint, text) in enumerate(lines):
        top = GAP + i * LINE
        ImageDraw.Draw(canvas).rectangle((GAP, top + 3, GAP + 12, top + 15), fill=tint)
        ImageDraw.Draw(canvas).text((GAP + 20, top), text, INK, font)
    return np.asarray(canvas)


def ramp(least: float, most: float, height: int) -> Picture:
    """Return what the colours of a heat map mean."""
    bar = heated(np.linspace(1, 0, max(2, height - 4 * LINE), dtype=np.float32))[:, None].repeat(18, axis=1)
    canvas = PillowImage.new("RGB", (130, height), PAPER)
    canvas.paste(PillowImage.fromarray(bar), (GAP, 2 * LINE))
    write(canvas, "dense prompt", (GAP, GAP), "la")
    write(canvas, f"{most:.3g}", (GAP + 26, 2 * LINE), "la")
    write(canvas, f"{least:.3g}", (GAP + 26, height - 2 * LINE), "ld")
    return np.asarray(canvas)


def beside(pictures: Sequence[Picture]) -> Picture:
    """Return pictures side by side, their tops in line."""
    width = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    whole = np.full((max(len(picture) for picture in pictures), width, 3), PAPER, np.uint8)
    left = 0
    for picture in pictures:
        whole[: len(picture), left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return whole
