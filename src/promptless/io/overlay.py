"""The picture that one would rather look at than read: outlines over the image, and what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from scipy import ndimage
from skimage.segmentation import find_boundaries

from promptless.image import Image, Shape
from promptless.io import classes
from promptless.normalise import intensity_range, normalise
from promptless.prompts import OBJECT, Prompts
from promptless.result import Segmentation

SMALL, LARGE = 800, 4096
"""Images whose longer side is below the first are shown larger, above the second smaller, by whole factors."""
ON_DARK, ON_BRIGHT = (255, 214, 0), (0, 255, 60)
TRUE, FOUND, BOTH = (0, 200, 60), (255, 60, 220), (255, 200, 0)
RIM = (20, 20, 20)
"""Around the lines of a comparison, so that they show on tissue of any colour."""
HEADLINE = 22
"""Pixels above a picture for its title."""
BOXES, POSITIVE, NEGATIVE = (70, 130, 255), (255, 255, 255), (255, 70, 70)
MARK = 0.22
"""Diameter of a point's mark, as a share of the median side of the boxes; `MARKS` bounds it, in picture pixels."""
MARKS = (5, 15)
ROOM = 6
"""Points are marked no wider than this part of the distance at which as many would stand evenly."""
LETTERS, LINE = 14, 18
"""Pixels: size of the legend's letters, and from one of its lines to the next."""
COMPRESSION = 4
"""Of PNG: the default, 6, makes files 2 % smaller in three times the time."""
FINE = 8
"""Marks are drawn this many times larger, then made smaller, for smooth edges."""


@dataclass(frozen=True)
class Scale:
    """How an image becomes a picture of a size to look at: every `thin`-th pixel, each `enlarge` times."""

    thin: int
    enlarge: int

    @classmethod
    def of(cls, shape: Shape) -> Scale:
        """Return the scale for an image of `shape`."""
        side = max(shape)
        return cls(max(1, -(-side // LARGE)), max(1, round(SMALL / side)) if side < SMALL else 1)

    def pixels(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array (y, x, ...) as it is shown."""
        return plane[:: self.thin, :: self.thin].repeat(self.enlarge, axis=0).repeat(self.enlarge, axis=1)

    def edges(self, at: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return positions in the picture of positions that count from the corner of the first pixel."""
        return np.asarray(at, np.float64) / self.thin * self.enlarge


def write_outlines(segmentation: Segmentation, path: Path) -> None:
    """Write a PNG of the image with a line around every object, just inside its border."""
    PillowImage.fromarray(drawn(segmentation)).save(path, compress_level=COMPRESSION)


def write_prompts(segmentation: Segmentation, path: Path) -> None:
    """Write a PNG of the image with a line around every object, and what was asked about it."""
    picture = drawn(segmentation)
    PillowImage.fromarray(with_prompts(picture, segmentation.prompts)).save(path, compress_level=COMPRESSION)


def drawn(segmentation: Segmentation) -> NDArray[np.uint8]:
    """Return the picture of an image and its objects, in the colours of their classes where the model tells any."""
    picture = outlines(segmentation.image, segmentation.labels)
    return coloured(picture, segmentation) if segmentation.class_names else picture


def coloured(picture: NDArray[np.uint8], segmentation: Segmentation) -> NDArray[np.uint8]:
    """Return a picture with each object's line in the colour of its class, and what the colours mean in a corner."""
    scale, names = Scale.of(segmentation.labels.shape), classes.names(segmentation)
    edges = find_boundaries(scale.pixels(segmentation.labels), mode="inner")
    palette = np.array([(0, 0, 0), *(classes.colour(value) for value in names if value)], np.uint8)
    picture = picture.copy()
    picture[edges] = palette[scale.pixels(classes.class_map(segmentation))[edges]]
    canvas = PillowImage.fromarray(picture)
    canvas.paste(legend(names), (0, 0))
    return np.asarray(canvas)


def legend(names: dict[int, str]) -> PillowImage.Image:
    """Return a line of text for each class in its colour, on black."""
    lines = [
        (classes.colour(value), name.encode("ascii", "replace").decode()) for value, name in names.items() if value
    ]
    font = ImageFont.load_default(LETTERS)
    width = max(font.getbbox(text)[2] for _, text in lines)
    canvas = PillowImage.new("RGB", (int(width) + LETTERS, len(lines) * LINE + LETTERS // 2))
    for row, (tint, text) in enumerate(lines):
        ImageDraw.Draw(canvas).text((LETTERS // 2, LETTERS // 4 + row * LINE), text, tint, font)
    return canvas


def outlines(image: Image, labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the picture (y, x, 3) of an image with two spatial axes and of its objects."""
    scale = Scale.of(labels.shape)
    picture = thinned(image, scale.thin)
    colour = ON_BRIGHT if picture.mean() > 128 else ON_DARK
    picture = picture.repeat(scale.enlarge, axis=0).repeat(scale.enlarge, axis=1)
    picture[find_boundaries(scale.pixels(labels), mode="inner")] = colour
    return picture


def comparison(
    image: Image, truth: NDArray[np.integer], predicted: NDArray[np.integer], title: str
) -> NDArray[np.uint8]:
    """Return the picture of an image with true objects (green) and predicted ones (magenta), yellow where they agree.

    `title` stands above it.
    """
    scale = Scale.of(truth.shape)
    picture = thinned(image, scale.thin).repeat(scale.enlarge, axis=0).repeat(scale.enlarge, axis=1)
    true, found = (two_wide(scale.pixels(labels)) for labels in (truth, predicted))
    rim = ndimage.binary_dilation(true | found)
    for pixels, colour in ((rim, RIM), (true, TRUE), (found, FOUND), (true & found, BOTH)):
        picture[pixels] = colour
    canvas = PillowImage.new("RGB", (picture.shape[1], picture.shape[0] + HEADLINE))
    canvas.paste(PillowImage.fromarray(picture), (0, HEADLINE))
    ImageDraw.Draw(canvas).text((6, 2), title, POSITIVE, ImageFont.load_default(LETTERS))
    return np.asarray(canvas)


def two_wide(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return the two outermost pixels of every object."""
    edges = find_boundaries(labels, mode="inner")
    return np.asarray(edges | (ndimage.binary_dilation(edges) & (labels.astype(np.bool_))))


def thinned(image: Image, thin: int) -> NDArray[np.uint8]:
    """Return every `thin`-th pixel of an image as colours (y, x, 3)."""
    pixels = normalise(image.data[:, ::thin, ::thin], *intensity_range(image.data))
    picture = np.empty((*pixels.shape[1:], len(pixels)), np.uint8)
    np.multiply(np.moveaxis(pixels, 0, -1), 255, out=picture, casting="unsafe")  # no second picture in floats
    return picture


def with_prompts(picture: NDArray[np.uint8], prompts: Prompts) -> NDArray[np.uint8]:
    """Return the picture of an image with its prompts: thin boxes, crosses off the objects, dots on them."""
    scale = Scale.of(prompts.shape)
    canvas = PillowImage.fromarray(picture)
    boxes = [scale.edges(p.box) for p in prompts.items if p.box is not None]
    for (top, bottom), (left, right) in boxes:
        ImageDraw.Draw(canvas).rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=BOXES)
    sides = [np.diff(scale.edges(p.extent)) for p in prompts.items]
    size = int(np.clip(MARK * np.median(sides), *MARKS)) if sides else MARKS[0]
    n_points = sum(len(p.points) for p in prompts.items)
    apart = np.sqrt(canvas.width * canvas.height / max(1, n_points))
    size = max(MARKS[0], min(size, int(apart / ROOM)))
    on = [p.points[p.point_labels == OBJECT] for p in prompts.items]
    off = [p.points[p.point_labels != OBJECT] for p in prompts.items]
    for points, mark, colour in ((off, cross(size * 3 // 2), NEGATIVE), (on, dot(size), POSITIVE)):
        for y, x in scale.edges(np.concatenate([np.zeros((0, 2), np.float32), *points]) + 0.5):
            stamp(canvas, mark, colour, (y, x))
    return np.asarray(canvas)


def stamp(
    canvas: PillowImage.Image, mark: PillowImage.Image, colour: tuple[int, int, int], at: tuple[float, float]
) -> None:
    """Draw a mark with its middle at (y, x), a dark rim around it."""
    y, x = (round(a - mark.width / 2) for a in at)
    for shift_y, shift_x in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        canvas.paste((0, 0, 0), (x + shift_x, y + shift_y), mark)
    canvas.paste(colour, (x, y), mark)


def dot(size: int) -> PillowImage.Image:
    """Return the shape of a dot, `size` pixels wide."""
    fine = PillowImage.new("L", (size * FINE, size * FINE))
    ImageDraw.Draw(fine).ellipse((0, 0, size * FINE - 1, size * FINE - 1), fill=255)
    return fine.resize((size, size), PillowImage.Resampling.BOX)


def cross(size: int) -> PillowImage.Image:
    """Return the shape of a cross, `size` pixels wide."""
    fine = PillowImage.new("L", (size * FINE, size * FINE))
    low, high = FINE, (size - 1) * FINE
    for line in ((low, low, high, high), (low, high, high, low)):
        ImageDraw.Draw(fine).line(line, fill=255, width=FINE * 3 // 2)
    return fine.resize((size, size), PillowImage.Resampling.BOX)
