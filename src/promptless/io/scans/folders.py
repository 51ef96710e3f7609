"""The scans that folders stand for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from promptless.io import scans
from promptless.io.readers.folders import is_own, visible

ALONE = (*scans.NIFTI, ".zip")
"""Files that are scans by themselves."""


def scans_in(paths: Iterable[Path], recursive: bool = False, output: Path | None = None) -> list[Path]:
    """Return the scans meant by `paths`, sorted: files as they are, folders as the scans in them.

    A folder stands for each NIfTI file and .zip in it, and for itself where it holds DICOM files. Without any of these
    it stands for itself where there are DICOM files anywhere below; with `recursive` so does every folder that holds
    some. What promptless wrote is not read back, and nothing below the folder `output` is.
    """
    found: list[Path] = []
    for path in paths:
        found += inside(path, recursive, output) if path.is_dir() else [path]
    return list({path.resolve(): path for path in found}.values())


def inside(folder: Path, recursive: bool, output: Path | None) -> list[Path]:
    """Return the scans in a folder."""
    files = [path for path in visible(folder, recursive, output) if not is_own(path)]
    alone = [path for path in files if path.name.lower().endswith(ALONE)]
    series = sorted({path.parent for path in files if path not in alone and scans.like_dicom(path)})
    if alone or series or recursive:
        return alone + series
    return [folder] if scans.is_scan(folder) else []
