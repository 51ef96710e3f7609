"""The picture that one would rather look at than read: outlines over the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from skimage.segmentation import find_boundaries

from promptless.image import Image
from promptless.normalise import intensity_range, normalise

SMALL, LARGE = 800, 4096
"""Images whose longer side is below the first are shown larger, above the second smaller, by whole factors."""
ON_DARK, ON_BRIGHT = (255, 214, 0), (0, 255, 60)


def write(image: Image, labels: NDArray[np.integer], path: Path) -> None:
    """Write a PNG of the image with a line around every object, just inside its border."""
    PillowImage.fromarray(draw(image, labels)).save(path)


def draw(image: Image, labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the overlay (y, x, 3) of an image with two spatial axes."""
    side = max(labels.shape)
    thin, enlarge = max(1, -(-side // LARGE)), max(1, round(SMALL / side)) if side < SMALL else 1
    pixels = normalise(image.data[:, ::thin, ::thin], *intensity_range(image.data))
    picture = np.ascontiguousarray((np.moveaxis(pixels, 0, -1) * 255).astype(np.uint8))
    colour = ON_BRIGHT if picture.mean() > 128 else ON_DARK
    picture = picture.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    shown = labels[::thin, ::thin].repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    picture[find_boundaries(shown, mode="inner")] = colour
    return picture
