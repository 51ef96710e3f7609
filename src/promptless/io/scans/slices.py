"""The slices of a DICOM series: where each lies, and what must hold of them to be a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from promptless.errors import UnreadableImageError
from promptless.io.scans import grid
from promptless.io.scans.parts import Part, damaged

ALIKE = 1e-4
"""Direction cosines of slices of one series differ by less; sizes of a pixel do relatively."""
UNEVEN = 0.02
"""Gaps between slices differ by less than this share of the gap; positions are written with few digits."""
MISSING, DOUBLED = 1.5, 0.1
"""A gap of more than so many usual ones lacks a slice; of less, it is no gap."""
DRIFT = 2e-3
"""By how much, per length, slices may shift sideways (0.1 degrees)."""
BESIDE = 0.1
"""By how much, in mm, one slice may lie beside the line of the others, however short that is."""
TOLD = 5
"""How many positions a message names."""


@dataclass(frozen=True, eq=False)
class Slice:
    """A frame of a file, and where it lies: `position` of its first pixel, `along` rows and columns (2, 3), in mm.

    `along[0]` is the direction in which the column index grows, `spacing` is between rows and between columns.
    Pixels are stored within `limits`, and mean `slope` times that plus `intercept`.
    """

    part: Part
    frame: int
    position: NDArray[np.float64]
    along: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    slope: float
    intercept: float
    limits: tuple[int, int]

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """The direction that is at right angles to the slice."""
        return np.cross(self.along[0], self.along[1])

    @property
    def label(self) -> str:
        """What it is called in a message."""
        return f"{self.part.name} (frame {self.frame})" if self.frame else self.part.name

    @property
    def height(self) -> float:
        """Where the slice lies along its normal."""
        return float(self.position @ self.normal)


def slices_of(part: Part, header: Dataset) -> list[Slice]:
    """Return the frames of a file."""
    try:
        if header.get("SamplesPerPixel", 1) != 1:
            raise UnreadableImageError(f"has {part.name}, whose pixels are colours; a scan has one value per voxel")
        n = int(header.get("NumberOfFrames", 1) or 1)
        per_frame = header.get("PerFrameFunctionalGroupsSequence")
        if per_frame is not None and len(per_frame) != n:
            raise UnreadableImageError(f"has {part.name}, which describes {len(per_frame)} of its {n} frames")
        if per_frame is None and n > 1:
            raise UnreadableImageError(f"has {part.name} of {n} frames, and does not say where they lie")
        return [slice_of(part, header, i) for i in range(n)]
    except UnreadableImageError:
        raise
    except Exception as error:  # values of any kind stand in damaged files
        raise damaged(part, error) from error


def slice_of(part: Part, header: Dataset, frame: int) -> Slice:
    """Return where a frame lies and how its values are scaled."""
    groups = groups_of(header, frame)
    plane = groups.get("PlanePositionSequence", header)
    turned = groups.get("PlaneOrientationSequence", header)
    sizes = groups.get("PixelMeasuresSequence", header)
    values = groups.get("PixelValueTransformationSequence", header)
    position = numbers(part, plane, "ImagePositionPatient", 3)
    along = numbers(part, turned, "ImageOrientationPatient", 6).reshape(2, 3)
    between, across = numbers(part, sizes, "PixelSpacing", 2)
    if not min(between, across) > 0:
        raise UnreadableImageError(
            f"has {part.name} with a PixelSpacing of {between:g}, {across:g}; both must be above 0"
        )
    if np.abs(along @ along.T - np.eye(2)).max() > grid.SKEW:
        raise UnreadableImageError(
            f"has {part.name} with an ImageOrientationPatient of {grid.listed(along.ravel())}, which are no two "
            "directions at right angles; correct it"
        )
    if "ModalityLUTSequence" in header:
        raise UnreadableImageError(f"has {part.name}, whose values are scaled by a table; convert it to a linear scale")
    shape = (int(header.Rows), int(header.Columns))
    return Slice(part, frame, position, along, (between, across), shape, *scale(part, values), limits(header))


def scale(part: Part, values: Dataset) -> tuple[float, float]:
    """Return by what stored pixels are multiplied, and what is added then."""
    slope, intercept = float(values.get("RescaleSlope", 1)), float(values.get("RescaleIntercept", 0))
    if not np.isfinite([slope, intercept]).all() or not slope:
        raise UnreadableImageError(
            f"has {part.name} with a RescaleSlope of {slope:g} and RescaleIntercept of {intercept:g}, which scale "
            "nothing; correct them"
        )
    return slope, intercept


def limits(header: Dataset) -> tuple[int, int]:
    """Return the least and the largest pixel that can be stored."""
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def groups_of(header: Dataset, frame: int) -> dict[str, Dataset]:
    """Return what is told of a frame, by the keyword of the sequence that tells it."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    told = [*shared[:1], *per_frame[frame : frame + 1]]
    return {item.keyword: item.value[0] for group in told for item in group if item.VR == "SQ" and item.value}


def numbers(part: Part, of: Dataset, keyword: str, n: int) -> NDArray[np.float64]:
    """Return the numbers of an attribute, which must be there."""
    values = of.get(keyword)
    found = np.array([] if values is None else values, np.float64).ravel()
    if len(found) != n or not np.isfinite(found).all():
        raise UnreadableImageError(
            f"has {part.name} with {'no' if values is None else 'a damaged'} {keyword}, which tells where it lies; "
            "take it away if it is no slice of the scan, or get it again"
        )
    return found


def check_alike(slices: Sequence[Slice]) -> None:
    """Refuse slices that are no stack: of several shapes, pixel sizes or directions."""
    first = slices[0]
    for other in slices[1:]:
        for what, ours, theirs in (
            ("rows and columns", first.shape, other.shape),
            ("a pixel size of", first.spacing, other.spacing),
            ("an orientation of", tuple(first.along.ravel()), tuple(other.along.ravel())),
        ):
            if not np.allclose(ours, theirs, rtol=ALIKE, atol=ALIKE * (what == "an orientation of")):
                raise UnreadableImageError(
                    f"has slices that make no volume: {first.part.name} has {what} {grid.listed(ours)}, "
                    f"{other.part.name} {grid.listed(theirs)}; keep those that belong together in a folder of their own"
                )


def check_gaps(slices: Sequence[Slice]) -> None:
    """Refuse slices, in order, of which some are missing, or there twice, or that are unevenly spaced."""
    heights = np.array([one.height for one in slices])
    gaps = np.diff(heights)
    apart = gaps[gaps > 1e-3]
    usual = float(np.median(apart)) if len(apart) else 0.0
    doubled = np.flatnonzero(gaps <= DOUBLED * usual).tolist()
    if doubled:
        pairs = [f"{slices[i].label} and {slices[i + 1].label} at {heights[i]:.2f} mm" for i in doubled]
        raise UnreadableImageError(
            f"has {len(doubled)} slices that lie where another does: {several(pairs)}; keep one of each, or the slices "
            "of one point in time"
        )
    missing = np.flatnonzero(gaps > MISSING * usual).tolist()
    if missing:
        n = sum(round(gaps[i] / usual) - 1 for i in missing)
        places = [f"{heights[i]:.2f} and {heights[i + 1]:.2f} mm" for i in missing]
        raise UnreadableImageError(
            f"lacks about {n} slices: between {several(places)} along the normal, where slices are {usual:.2f} mm "
            "apart; get the whole series"
        )
    if np.abs(gaps - gaps.mean()).max() > UNEVEN * usual:
        odd = int(np.abs(gaps - gaps.mean()).argmax())
        raise UnreadableImageError(
            f"has slices that are unevenly spaced: {gaps[odd]:.3f} mm between {heights[odd]:.2f} and "
            f"{heights[odd + 1]:.2f} mm, {gaps.mean():.3f} mm on average; resample it to even gaps"
        )


def check_upright(slices: Sequence[Slice]) -> None:
    """Refuse slices, in order, that do not lie straight above each other."""
    first, last = slices[0], slices[-1]
    way = last.position - first.position
    length = last.height - first.height
    side = way - length * first.normal
    if np.linalg.norm(side) > DRIFT * length:
        angle = np.degrees(np.arctan2(np.linalg.norm(side), length))
        raise UnreadableImageError(
            f"was taken with a tilted gantry: its slices shift sideways, {angle:.2f} degrees off their normal, and "
            "must lie straight above each other; resample it onto a grid with right angles (dcm2niix does)"
        )
    for one in slices:
        expected = first.position + way * (one.height - first.height) / length
        if np.linalg.norm(one.position - expected) > max(DRIFT * length, BESIDE):
            raise UnreadableImageError(
                f"has {one.label} at {grid.listed(one.position)} mm, beside the line of the others, which is at "
                f"{grid.listed(expected)} there; take it away if it is of another scan"
            )


def several(texts: Sequence[str]) -> str:
    """Return the first of some texts for a message."""
    more = f" and {len(texts) - TOLD} more" if len(texts) > TOLD else ""
    return ", ".join(texts[:TOLD]) + more
