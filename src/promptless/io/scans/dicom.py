"""DICOM: a series as a scan, its slices in the order of the places where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import HTJ2K, UID, HTJ2KLossless, HTJ2KLosslessRPCL, MediaStorageDirectoryStorage

from promptless.errors import UnreadableImageError, named
from promptless.image import Image, Origin
from promptless.io.readers import memory
from promptless.io.scans import grid, jpeg, nifti
from promptless.io.scans.parts import Part, damaged, parts_in
from promptless.io.scans.slices import Slice, check_alike, check_gaps, check_upright, slices_of

Headed = tuple[Part, Dataset]
NO_IMAGES = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "PLAN", "DOC", "ECG")
"""Modalities of objects that go with a series, and are none."""
LOCALISER, IMAGE = "LOCALIZER", "Image Storage"
"""What the type of a localiser has, and the names of the kinds of objects that are images."""
WITHOUT_ROWS = ("1.3.12.2.1107.5.9.1",)
"""Kinds of objects beside a series that no standard knows: Siemens' CSA."""
CODECS = dict.fromkeys((HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg pylibjpeg-openjpeg")
"""Packages that decode what nothing does that is installed with `promptless[volume]`."""
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From what DICOM counts (left, back, head) to what NIfTI does (right, front, head)."""


@dataclass(frozen=True, eq=False)
class Series:
    """The slices of one series, in order along their normal."""

    uid: str
    name: str
    slices: tuple[Slice, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def gap(self) -> float:
        """The distance between neighbouring slices in mm."""
        return (self.slices[-1].height - self.slices[0].height) / (len(self.slices) - 1)

    @cached_property
    def affine(self) -> grid.Affine:
        """Where the voxel (column, row, slice) lies in the patient: (right, front, head) in mm."""
        first = self.slices[0]
        affine = np.eye(4)
        affine[:3, 0] = first.along[0] * first.spacing[1]
        affine[:3, 1] = first.along[1] * first.spacing[0]
        affine[:3, 2] = first.normal * self.gap
        affine[:3, 3] = first.position
        return np.asarray(TO_RAS @ affine, np.float64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many columns, rows and slices there are."""
        return (*reversed(self.slices[0].shape), len(self.slices))  # type: ignore[return-value]


def read(path: Path, series: str | None = None) -> Image:
    """Read a series as (1, z, y, x) in mm, rescaled (CT: Hounsfield units).

    `path` is a folder, entered to its ground, a .zip of one, or a file of many frames; `series` is the name or UID of
    the one that is meant where there are several.
    """
    with opened(path, series) as found, named(path):
        columns, rows, n = found.shape
        kept = type_of(found)
        size = sum(slices[0][1].part.size for slices in of_files(found))
        memory.check_scan(size, (n, rows, columns), kept, kept)
        voxels = np.empty((n, rows, columns), kept)
        decode(found, voxels)
        data, onto = grid.to_array_order(voxels.T, found.affine)
        header = nifti.header_for(found.affine, found.shape)
        sizes = grid.spacing_of(onto)
        origin = Origin(f"columns={columns}, rows={rows}, slices={n}", notes=found.notes)
        return Image(np.ascontiguousarray(data)[None], sizes, "mm", onto, origin=origin, header=header.binaryblock)


@contextmanager
def opened(path: Path, series: str | None = None) -> Iterator[Series]:
    """Open a folder, a .zip or a file, and yield the series in it that is meant, checked but not decoded."""
    with parts_in(path) as parts:
        with named(path):
            images, passed = images_in(parts)
            notes = tuple(f"{n} {what} were passed over" for what, n in passed.items())
            if not images:
                besides = f" ({'; '.join(notes)})" if notes else ""
                raise UnreadableImageError(f"holds no DICOM series of images{besides}; name the folder that does")
            found = ordered(chosen(images, series), notes)
        yield found


def images_in(parts: Sequence[Part]) -> tuple[dict[str, list[Headed]], Counter[str]]:
    """Return the files that are images, by the UID of their series, and how many there are of other kinds."""
    found: dict[str, list[Headed]] = {}
    passed: Counter[str] = Counter()
    for part in parts:
        header = header_of(part)
        if header.get("Modality", "") in NO_IMAGES:
            continue
        if "Rows" not in header:
            kind = class_of(header)
            if not holds_no_image(kind):
                raise damaged(part, ValueError("it does not say how many rows it has"))
            passed["objects that are no images"] += kind != MediaStorageDirectoryStorage  # that is a DICOMDIR
            continue
        if LOCALISER in header.get("ImageType", ()):
            passed["localisers"] += 1
            continue
        found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((part, header))
    return found, +passed


def class_of(header: Dataset) -> UID:
    """Return what kind of object a file says that it holds (its SOP class), "" where it does not."""
    meta = getattr(header, "file_meta", Dataset())
    return UID(str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))


def holds_no_image(kind: UID) -> bool:
    """Return whether a kind of object is known to be no image: any other, without rows, is a damaged one."""
    return kind in WITHOUT_ROWS or (kind.name != kind and IMAGE not in kind.name)


def header_of(part: Part) -> Dataset:
    """Return all of a file but its pixels."""
    try:
        with part.open() as file:
            return pydicom.dcmread(file, stop_before_pixels=True)
    except Exception as error:  # on damaged bytes, anything
        raise damaged(part, error) from error


def chosen(found: Mapping[str, Sequence[Headed]], series: str | None) -> Sequence[Headed]:
    """Return the files of the series that is meant, by UID or by name."""
    names = {uid: name_of(files[0][1]) for uid, files in found.items()}
    matching = [uid for uid in found if series is None or series in (uid, names[uid])]
    if len(matching) == 1:
        return found[matching[0]]
    listed = "; ".join(f"{names[uid]} ({len(files)} files, {uid})" for uid, files in found.items())
    if series is None:
        raise UnreadableImageError(
            f"holds {len(found)} series, and a scan is one; choose it by name or UID (--series, or series=): {listed}"
        )
    wrong = "no series" if not matching else f"{len(matching)} series"
    raise UnreadableImageError(f"has {wrong} called {series}; choose one by its UID: {listed}")


def name_of(header: Dataset) -> str:
    """Return what a series is called."""
    return str(header.get("SeriesDescription", "")).strip() or "without a name"


def ordered(files: Sequence[Headed], notes: tuple[str, ...]) -> Series:
    """Return the slices in files of one series, in order, after all that must hold of their places was checked."""
    slices = [one for part, header in files for one in slices_of(part, header)]
    if len(slices) < 2:
        raise UnreadableImageError(
            "holds one slice of a series; name the folder or .zip that has all of them, or a file of many frames"
        )
    check_alike(slices)
    slices.sort(key=lambda one: one.height)
    check_gaps(slices)
    check_upright(slices)
    header = files[0][1]
    return Series(str(header.get("SeriesInstanceUID", "")), name_of(header), tuple(slices), notes)


def of_files(series: Series) -> list[list[tuple[int, Slice]]]:
    """Return the slices of a series, with their places in it, file by file."""
    found: dict[int, list[tuple[int, Slice]]] = {}
    for place, one in enumerate(series.slices):
        found.setdefault(id(one.part), []).append((place, one))
    return list(found.values())


def type_of(series: Series) -> np.dtype[Any]:
    """Return the type that holds every rescaled value: int16 or int32 where they are whole numbers, else float32."""
    scales = {(one.slope, one.intercept, one.limits) for one in series.slices}
    if any(not (slope.is_integer() and intercept.is_integer()) for slope, intercept, _ in scales):
        return np.dtype(np.float32)
    ends = [slope * value + intercept for slope, intercept, limits in scales for value in limits]
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def decode(series: Series, into: NDArray[Any]) -> None:
    """Decode every file of a series, and put its frames, rescaled, in their places in `into` (slice, row, column)."""
    for slices in of_files(series):
        part = slices[0][1].part
        frames = decoded(part, into.shape[1:])
        for place, one in slices:
            values = frames[one.frame]
            if values.min() < one.limits[0] or values.max() > one.limits[1]:
                raise UnreadableImageError(f"has {part.name} with values that its BitsStored cannot hold; get it again")
            into[place] = values * np.float64(one.slope) + one.intercept  # exact for whole numbers below 2**53


def decoded(part: Part, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the pixels of a file as stored, (frame, row, column)."""
    try:
        with part.open() as file:
            dataset = pydicom.dcmread(file)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax in jpeg.SYNTAXES:
            return jpeg.decoded(dataset)
        check_codec(part, syntax)
        return np.asarray(dataset.pixel_array).reshape(-1, *shape)
    except UnreadableImageError:
        raise
    except Exception as error:  # on damaged bytes, anything
        raise damaged(part, error) from error


def check_codec(part: Part, syntax: UID) -> None:
    """Refuse a file whose pixels are compressed so that nothing that is installed decodes them."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UnreadableImageError(
            f"has {part.name}, compressed as {syntax.name} ({syntax}), which pydicom does not decode; save it "
            "uncompressed"
        ) from error
    if not decoder.is_available:
        raise UnreadableImageError(
            f"has {part.name}, compressed as {syntax.name} ({syntax}), for which no decoder is installed: pip install "
            f"{CODECS.get(syntax, 'pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg')}, or save it uncompressed"
        )
