"""What a segmented scan is saved as, each kind by its writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from promptless.io import tables
from promptless.io.overlay import COMPRESSION
from promptless.io.scans import dicom, grid, nifti, planes
from promptless.result import VolumeSegmentation
from promptless.structures import AXES, ENDS, edges

FILE_AXES = "ijk"


def write_labels(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write the label image on the scan's own grid."""
    labels = segmentation.labels
    nifti.write_voxels(nifti.as_stored(labels, segmentation.image), segmentation.image, path)


def write_names(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write the names of the labels."""
    nifti.write_names(segmentation.names, path)


def write_volumes(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write the table of structures as CSV; boxes are in voxels of the scan's file, along its own axes."""
    columns = dict(segmentation.structures)
    found = np.stack([np.stack([columns.pop(f"{axis}_{end}") for end in ENDS], axis=-1) for axis in AXES], axis=1)
    columns |= edges(in_file(found, segmentation), FILE_AXES)
    tables.write(columns, path)


def in_file(boxes: NDArray[np.int64], segmentation: VolumeSegmentation) -> NDArray[np.int64]:
    """Return boxes (n, axis, start and stop) of (z, y, x) as those of the file that the scan was read from."""
    affine = nifti.written(segmentation.image).get_best_affine()
    return grid.boxes_in_file(boxes, segmentation.labels.shape, affine)


def write_overlay(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write the picture of three planes with contours."""
    PillowImage.fromarray(planes.overlay(segmentation)).save(path, compress_level=COMPRESSION)


def write_prompt(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write the picture of the dense prompt."""
    PillowImage.fromarray(planes.heat(segmentation)).save(path, compress_level=COMPRESSION)


def write_probabilities(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write the probability of every class, the background first, along a fourth axis: uint8 in units of 1 / 255."""
    if segmentation.probabilities is None:
        raise ValueError('the probabilities were not kept; segment with keep=["probabilities"]')
    nifti.write_voxels(segmentation.probabilities, segmentation.image, path, slope=1 / 255)


def write_seg(segmentation: VolumeSegmentation, path: Path) -> None:
    """Write a DICOM SEG that refers to the series that the scan was read from."""
    from promptless.io.scans import seg

    assert segmentation.series is not None, "only scans from DICOM have this output"
    with dicom.opened(segmentation.series.path, segmentation.series.chosen) as series:
        seg.write_seg(segmentation.labels, series, segmentation.names, path)
