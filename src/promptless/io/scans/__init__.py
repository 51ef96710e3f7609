"""Scans from files: NIfTI, and DICOM as a folder, a .zip or a file of many frames, all as (1, z, y, x) in mm."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.clicks import LABELS, MM, OWN
from promptless.errors import UnreadableImageError
from promptless.image import Image

NIFTI = (".nii", ".nii.gz")
DICOM = (".zip", ".dcm", ".dicom", ".ima")
MAGIC, MAGIC_AT = b"DICM", 128


def read(path: Path, *, frame: int | None = None, series: str | None = None) -> Image:
    """Read a scan, with its geometry: `Image.affine` and `spacing` in mm.

    The axes are z towards the head, y towards the front, x towards the right of the patient, whatever their order
    and directions in the file are; `nifti.write_labels` turns labels back. `frame` chooses in a NIfTI file of four
    axes, `series` (name or UID) among DICOM series.
    """
    dicoms = is_dicom(path)
    need(path, "nibabel", *["pydicom"] * dicoms)
    if dicoms:
        from promptless.io.scans import dicom

        return dicom.read(path, series)
    from promptless.io.scans import nifti

    return nifti.read(path, frame)


def read_labels(path: Path, like: Image) -> NDArray[np.integer[Any]]:
    """Read labels (z, y, x) from a NIfTI file that lies on the grid of the scan `like`; any other grid is refused."""
    need(path, "nibabel")
    from promptless.io.scans import nifti

    return nifti.read_labels(path, like)


def frames(image: Image) -> dict[str, NDArray[np.float64]]:
    """Return what takes voxels (z, y, x, 1) of a scan to each of the spaces that a user may tell places in.

    A scan that came from no file is its own array; where it does not say where it lies, there are no millimetres.
    """
    there = {MM: image.affine} if image.affine is not None else {}
    own = np.eye(4)
    if image.header:
        from promptless.io.scans import nifti

        own = nifti.onto_file(image)
    return {OWN: own, LABELS: np.eye(4), **there}


def need(path: Path, *packages: str) -> None:
    """Say what to install where a package that reads or writes `path` is not there."""
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(f"{path} needs {package}: pip install 'promptless[volume]'") from error


def is_dicom(path: Path) -> bool:
    """Return whether a path is read as DICOM, else as NIfTI; what is neither is refused."""
    if not path.exists():
        raise UnreadableImageError(f"{path} does not exist")
    if path.is_dir() or like_dicom(path):
        return True
    if path.name.lower().endswith(NIFTI):
        return False
    raise UnreadableImageError(
        f"{path} is no scan: {', '.join(NIFTI)}, a DICOM folder, a .zip of one, and DICOM files are read"
    )


def like_dicom(path: Path) -> bool:
    """Return whether a file is read as DICOM, by its name or by how it begins."""
    name = path.name.lower()
    if name.endswith(DICOM) or name.endswith(NIFTI) or not path.is_file():
        return name.endswith(DICOM)
    with path.open("rb") as file:
        return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC


def is_scan(path: Path) -> bool:
    """Return whether what is at a path is a scan: a file of one, or a folder that holds DICOM files."""
    if path.is_dir():
        return any(like_dicom(inside) for inside in path.rglob("*") if inside.is_file())
    return path.name.lower().endswith(NIFTI) or like_dicom(path)


def without_suffix(path: Path) -> str:
    """Return the name of a file without its suffix, both parts of .nii.gz."""
    double = next((suffix for suffix in NIFTI if path.name.lower().endswith(suffix)), "")
    return path.name[: -len(double)] if double == ".nii.gz" else path.stem
