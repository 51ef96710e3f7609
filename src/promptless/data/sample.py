"""One labelled image, as training and evaluation see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops

from promptless.normalise import intensity_range

UNKNOWN = -1
"""What a class map has where an object's class is not known."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its label image.

    `pixels` is (channel, *spatial), one or three channels, any dtype; `labels` is (*spatial), 0 background.
    `category` is the kind of microscopy or stain, by which sampling is weighted and figures are split.
    `mpp` is the size of a pixel in micrometres, `classes` the class of each object by label, where they are known.
    """

    id: str
    category: str
    pixels: NDArray[np.generic]
    labels: NDArray[np.int32]
    mpp: float | None = None
    classes: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        image, labels = (" x ".join(map(str, shape)) for shape in (self.pixels.shape[1:], self.labels.shape))
        if image != labels:
            raise ValueError(f"{self.id}: the image has {image} pixels but its labels have {labels}; they must agree")
        if len(self.pixels) not in (1, 3):
            raise ValueError(f"{self.id}: the image has {len(self.pixels)} channels; save it with one, or with three")

    @cached_property
    def n_objects(self) -> int:
        """The number of objects."""
        return int(np.count_nonzero(np.bincount(self.labels.ravel())[1:]))

    @property
    def class_map(self) -> NDArray[np.int64]:
        """The class of each pixel: 0 for the background, `UNKNOWN` in objects whose class is not known."""
        lookup = np.full(int(self.labels.max(initial=0)) + 1, UNKNOWN)
        lookup[0] = 0
        for label, value in self.classes.items():
            if label < len(lookup):
                lookup[label] = value
        return lookup[self.labels]

    @cached_property
    def diameter(self) -> float:
        """Median diameter of the objects in pixels (of the disc of equal area), 20 where there are none."""
        diameters = [region.equivalent_diameter_area for region in regionprops(self.labels)]
        return float(np.median(diameters)) if diameters else 20.0

    @cached_property
    def range(self) -> tuple[float, float]:
        """The values of `pixels` that become 0 and 1."""
        return intensity_range(self.pixels)
