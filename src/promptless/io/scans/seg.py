"""DICOM SEG: labels as segments that refer to the slices of the series that they were made of."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from promptless import __version__
from promptless.io.atomic import replacing
from promptless.io.scans import grid
from promptless.io.scans.dicom import Series, of_files
from promptless.io.scans.parts import damaged

SIDES = ("Left", "Right")
MAKER = "promptless"


def write_seg(labels: NDArray[np.integer[Any]], series: Series, names: Mapping[int, str], path: Path) -> None:
    """Write labels (z, y, x) of a series as a DICOM SEG; `names` has each label that is in them.

    Segments are numbered 1, 2, ... in the order of the labels in `names`, as the format wants, and called by their
    names; what a name of SNOMED CT is gets its code. Labels without a voxel have a segment without a frame.
    """
    unnamed = sorted({int(value) for value in np.unique(labels)} - {0, *names})
    if unnamed:
        raise ValueError(f"labels {unnamed} have no names; give every label one")
    values = sorted(set(names) - {0})
    if not values:
        raise ValueError("there is no name of a label; a DICOM SEG needs one at least")
    numbers = np.zeros(max(values) + 1, np.uint8 if len(values) < 256 else np.uint16)
    numbers[values] = np.arange(1, len(values) + 1)
    planes = grid.to_file_order(labels, series.affine).T
    if planes.shape != series.shape[::-1]:
        raise ValueError(
            f"labels have the shape {labels.shape}, and their series {series.shape} columns, rows and slices; they "
            "must agree"
        )
    sources, frames = in_files(planes, series)
    written = referring(
        sources, numbers[frames], [described(i, names[v]) for i, v in enumerate(values, 1)], series.name
    )
    with replacing(path) as temporary:
        written.save_as(temporary)


def referring(
    sources: list[Dataset], pixels: NDArray[Any], segments: list[SegmentDescription], name: str
) -> Segmentation:
    """Return segments, numbered in `pixels` (slice, row, column), that refer to the files they were made of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about names of patients, which are theirs as they are
        return made(sources, pixels, segments, name)


def made(sources: list[Dataset], pixels: NDArray[Any], segments: list[SegmentDescription], name: str) -> Segmentation:
    """Make the object, as a series of its own beside that of `sources`."""
    try:
        return Segmentation(
            source_images=sources,
            pixel_array=pixels,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=generate_uid(),
            series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=__version__,
            omit_empty_frames=bool(pixels.any()),  # what is empty has to have its frames; highdicom would warn
            device_serial_number="0",
            series_description=f"{MAKER}: {name}"[:64],
        )
    except AttributeError as error:  # what a file lacks
        raise ValueError(f"the series lacks what a DICOM SEG refers to ({error}); write its labels as NIfTI") from error


def in_files(planes: NDArray[Any], series: Series) -> tuple[list[Dataset], NDArray[Any]]:
    """Return the files of a series, read without their pixels, and the planes (slice, row, column) in their order."""
    files, order = [], []
    for slices in of_files(series):
        part = slices[0][1].part
        try:
            with part.open() as file:
                one = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:  # on damaged bytes, anything
            raise damaged(part, error) from error
        if not one.get("SliceThickness"):  # it may be left out or empty in DICOM, but not in highdicom
            one.SliceThickness = series.gap
        files.append(one)
        order += [place for place, _ in sorted(slices, key=lambda placed: placed[1].frame)]
    return files, planes[order]


def described(number: int, name: str) -> SegmentDescription:
    """Return what a segment is."""
    kind = code_of(name)
    return SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.Tissue if kind is None else codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Tissue if kind is None else kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=MAKER, family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
    )


def code_of(name: str) -> Any:
    """Return the SNOMED CT code that pydicom has for a name such as "kidney_left" or "left kidney", None without."""
    words = [word.capitalize() for word in re.findall(r"[A-Za-z]+", name)]
    sided = [word for word in words if word in SIDES] + [word for word in words if word not in SIDES]
    plain = [word for word in words if word not in SIDES] if len(sided) > 1 else []
    found = (getattr(codes.SCT, "".join(tried), None) for tried in (words, sided, plain) if set(tried) - set(SIDES))
    return next((code for code in found if code is not None), None)
