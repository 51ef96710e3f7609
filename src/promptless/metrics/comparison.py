"""A true and a predicted label image, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.labels import LabelSource, objects
from promptless.masks import Mask
from promptless.metrics.overlaps import Overlaps, overlaps


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two label images of one shape, and how lengths in them are measured.

    `spacing` is the size of a voxel in mm along each axis, None where it is not known; `tolerance` is the
    distance in mm within which two surfaces count as one. Classes are those of objects, by label, where they
    are known. The overlaps are counted when first asked for.
    """

    truth: LabelSource
    predicted: LabelSource
    spacing: tuple[float, ...] | None = None
    tolerance: float = 1.0
    true_classes: Mapping[int, int] = field(default_factory=dict)
    predicted_classes: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.truth.shape != self.predicted.shape:
            raise ValueError(f"the truth has shape {self.truth.shape}, the prediction {self.predicted.shape}")
        if self.spacing is not None and len(self.spacing) != len(self.truth.shape):
            raise ValueError(f"spacing is {self.spacing} but the images have shape {self.truth.shape}; one per axis")
        if self.spacing is not None and not all(0 < s < float("inf") for s in self.spacing):
            raise ValueError(f"spacing is {self.spacing}; every value must be above 0")
        if not 0 <= self.tolerance < float("inf"):
            raise ValueError(f"the tolerance is {self.tolerance} mm; it must be 0 or more")

    @cached_property
    def overlaps(self) -> Overlaps:
        """What each object of one image shares with each of the other."""
        return overlaps(self.truth, self.predicted)

    @cached_property
    def labelled(self) -> tuple[dict[int, Mask], dict[int, Mask]]:
        """Where each label lies in the truth, and in the prediction."""
        truth, predicted = (np.asarray(labels[slice(None)]) for labels in (self.truth, self.predicted))
        return objects(as_numbers(truth)), objects(as_numbers(predicted))


def as_numbers(labels: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return labels as numbers; a mask has 0 and 1."""
    return labels.view(np.uint8) if labels.dtype == np.bool_ else labels
