"""NIfTI-1 and -2: scans as they lie in the patient, and labels on the very grid of a scan."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import array_from_file
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError, named
from promptless.image import Image, Origin
from promptless.io.atomic import replacing
from promptless.io.readers import memory
from promptless.io.scans import grid

Names = Mapping[int, str]
SUFFIXES = (".nii", ".nii.gz")
GZIP = b"\x1f\x8b"
MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in the unit of lengths, by its code: not told, metre, millimetre, micrometre."""
DEVIATION = 0.01
"""By how much, relatively, the sizes of a voxel in `pixdim` and in the affine may differ."""
GEOMETRY = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "xyzt_units"),
)
"""The fields of a header that say, with the first four of `pixdim`, where voxels lie."""
SIDECAR = ".json"
UNTOLD_UNIT = "the file names no unit; mm is assumed"
UNTOLD_PLACE = "the file has neither sform nor qform: that x runs to the left, y to the front, z up is assumed"


def read(path: Path, frame: int | None = None) -> Image:
    """Read a scan as (1, z, y, x), in mm; of several frames (a fourth axis) the one that is asked for, from 0."""
    with named(path), opened(path) as stream:
        header = header_in(stream)
        affine = affine_of(header)
        number = chosen(header, frame)
        grid.check_extent(extent(header)[:3])
        stored = header.get_data_dtype()
        memory.check_scan(path.stat().st_size, extent(header), stored, read_as(header))
        voxels = voxels_in(stream, header)
        voxels = voxels.reshape(*voxels.shape[:3], -1)[..., number]
        grid.check_finite(voxels)
        data, onto = grid.to_array_order(voxels, affine)
        spacing = tuple(float(s) * unit_of(header) for s in header["pixdim"][1:4])
        spacing = tuple(spacing[i] for i in order(affine))
        native = np.ascontiguousarray(data, data.dtype.newbyteorder("="))
        origin = Origin(told(header), None if frame is None else number, notes=notes(header))
        return Image(native[None], spacing, "mm", onto, origin=origin, header=header.binaryblock)


def stored(path: Path) -> tuple[NDArray[Any], tuple[float, ...], grid.Affine | None]:
    """Return what a file holds, its axes reversed but not turned round; the sizes of a voxel, and its affine, in mm.

    That is for labels that are compared with others of their grid. A fourth axis of one frame is dropped. The affine
    is that of (k, j, i), None where the file has other than three axes or does not say where its voxels lie; only an
    affine that is told is checked.
    """
    with opened(path) as stream:
        header = header_in(stream)
        shape = extent(header)
        shape = shape if prod(shape[3:]) > 1 else shape[:3]
        sizes = tuple(float(s) * unit_of(header) for s in reversed(header.get_zooms()[: len(shape)]))
        affine = affine_of(header)[:, [2, 1, 0, 3]] if len(shape) == 3 and placed(header) else None
        return voxels_in(stream, header).reshape(shape, order="F").T, sizes, affine


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, decompressing it where it is compressed, whatever its name says."""
    with path.open("rb") as file:
        compressed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.open(file) as stream:
            yield stream  # type: ignore[misc]


def header_in(stream: BinaryIO) -> Any:
    """Return the header of an open file, as it stands there."""
    start = stream.read(540)
    kinds = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    kind = next((kinds[n] for n in kinds for order in ("little", "big") if n == int.from_bytes(start[:4], order)), None)
    if kind is None or len(start) < kind.sizeof_hdr:
        raise UnreadableImageError("is not a NIfTI file, or its header is damaged")
    header = kind(start[: kind.sizeof_hdr], check=False)
    magic = header["magic"].item()
    if magic == kind.pair_magic:
        raise UnreadableImageError("keeps its voxels in a second file (.hdr and .img); save it as one .nii or .nii.gz")
    if magic != kind.single_magic:
        raise UnreadableImageError("is not a NIfTI file, or its header is damaged")
    if header["pixdim"][0] == 0:  # as the standard reads it
        header["pixdim"][0] = 1
    return header


def extent(header: Any) -> tuple[int, ...]:
    """Return the lengths of the axes, as whole numbers above 0."""
    n = int(header["dim"][0])
    lengths = tuple(int(length) for length in header["dim"][1 : n + 1])
    if not 1 <= n <= 7 or min(lengths) < 1:
        raise UnreadableImageError(f"has axes of lengths {lengths}, and each must be above 0; its header is damaged")
    return lengths


def chosen(header: Any, frame: int | None) -> int:
    """Return the number of the frame that is meant."""
    shape = extent(header)
    n = prod(shape[3:])
    if frame is None and n > 1:
        raise UnreadableImageError(
            f"has {' x '.join(map(str, shape))} voxels: {n} frames, and a scan is one; choose it by its "
            f"number, 0 to {n - 1} (--frame, or frame=), or save it by itself"
        )
    if frame is not None and not 0 <= frame < n:
        raise UnreadableImageError(f"has {n} frames, counted from 0, but frame {frame} was asked for")
    return frame or 0


def affine_of(header: Any) -> grid.Affine:
    """Return where the voxels (i, j, k) lie, in mm: by the sform, else the qform, else `pixdim` alone."""
    sizes = header["pixdim"][1:4].astype(float)
    if not (np.isfinite(sizes).all() and sizes.min() > 0):
        raise UnreadableImageError(
            f"has voxels of the size {grid.listed(sizes)}, and each must be above 0; correct pixdim in its header"
        )
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)
    except (ValueError, np.linalg.LinAlgError, HeaderDataError) as error:
        raise UnreadableImageError(f"has a qform that is no rotation ({error}); write its affine anew") from error
    grid.check(affine)
    lengths = np.array(grid.spacing_of(affine))
    if (np.abs(lengths - sizes) > DEVIATION * sizes).any():
        raise UnreadableImageError(
            f"has voxels of the size {grid.listed(sizes)} by pixdim, and {grid.listed(lengths)} by its affine; volumes "
            "would be wrong by one of them: correct the other"
        )
    scale = unit_of(header)
    return np.asarray(affine * np.array([[scale], [scale], [scale], [1.0]]))


def order(affine: grid.Affine) -> list[int]:
    """Return which axis of the file each of (z, y, x) is."""
    towards = nibabel.io_orientation(affine)[:, 0]
    return [int(np.flatnonzero(towards == axis)[0]) for axis in (2, 1, 0)]


def unit_of(header: Any) -> float:
    """Return the millimetres in the file's unit of lengths."""
    return MM.get(int(header["xyzt_units"]) % 8, 1.0)


def notes(header: Any) -> tuple[str, ...]:
    """Return what is assumed of a file."""
    untold = int(header["xyzt_units"]) % 8 not in (1, 2, 3)
    return (*[UNTOLD_UNIT] * untold, *[UNTOLD_PLACE] * (not placed(header)))


def placed(header: Any) -> bool:
    """Return whether a file says where its voxels lie."""
    return max(int(header["sform_code"]), int(header["qform_code"])) > 0


def told(header: Any) -> str:
    """Return the axes of a file for a person."""
    return ", ".join(f"{axis}={n}" for axis, n in zip("ijktuvw", extent(header), strict=False))


def read_as(header: Any) -> np.dtype[Any]:
    """Return the type of the voxels once they are scaled."""
    kept: np.dtype[Any] = header.get_data_dtype()
    if kept.kind not in "iuf":
        raise UnreadableImageError(f"has voxels of {kept}; convert them to integers or floats")
    slope, _ = header.get_slope_inter()
    return kept if slope is None or scaling(header) == (1.0, 0.0) else np.result_type(kept, np.float32)


def scaling(header: Any) -> tuple[float, float]:
    """Return by what stored values are multiplied, and what is added then."""
    slope, inter = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (float(slope), float(inter))


def voxels_in(stream: BinaryIO, header: Any) -> NDArray[Any]:
    """Return the voxels (i, j, k, ...) of an open file, scaled; a compressed file is checked to its end."""
    dtype = read_as(header)
    voxels = array_from_file(extent(header), header.get_data_dtype(), stream, header.get_data_offset(), mmap=False)
    while stream.read(2**20):
        pass
    slope, inter = scaling(header)
    if (slope, inter) == (1.0, 0.0):
        return np.asarray(voxels)
    scaled = voxels.astype(dtype)
    scaled *= dtype.type(slope)
    scaled += dtype.type(inter)
    return np.asarray(scaled)


def read_labels(path: Path, like: Image) -> NDArray[np.integer[Any]]:
    """Read labels (z, y, x) that lie on the grid of the scan `like`; any other grid is refused."""
    found = read(path)
    with named(path):
        grid.check_same(found, like)
        values = found.data[0]
        whole = values.astype(np.int64) if values.dtype.kind == "f" else values
        if (whole != values).any() or whole.min() < 0:
            raise UnreadableImageError("holds fractions or numbers below 0; labels are whole numbers from 0")
        return np.asarray(whole)


def write_labels(labels: NDArray[np.integer[Any]], like: Image, path: Path, names: Names | None = None) -> None:
    """Write labels (z, y, x) of the scan `like` on the grid of its file, with `names` by label in a JSON beside it.

    Orientation, affine, codes, sizes and units are those of the scan's file; labels are uint8, or uint16 above 255.
    """
    write_voxels(as_stored(labels, like), like, path)
    write_names(names or {}, sidecar(path))


def write_voxels(values: NDArray[Any], like: Image, path: Path, slope: float | None = None) -> None:
    """Write values (z, y, x), or several of each voxel (n, z, y, x), on the grid of the file of the scan `like`.

    They are written as their type is, several along a fourth axis; with a `slope` they mean as many times that.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise ValueError(f"{path} has another suffix than {' or '.join(SUFFIXES)}")
    header = written(like)
    header.set_data_dtype(values.dtype)
    affine = header.get_best_affine()
    kind = nibabel.Nifti1Image if header.sizeof_hdr == 348 else nibabel.Nifti2Image
    content = kind(grid.to_file_order(values, affine), affine, header)
    if slope is not None:
        content.header.set_slope_inter(slope, 0)
    with replacing(path) as temporary, temporary.open("wb") as file:
        if not path.name.lower().endswith(".gz"):
            content.to_stream(file)
            return
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as stream:
            content.to_stream(stream)


def compressed(content: bytes) -> bytes:
    """Return the content of a .nii as that of a .nii.gz, the same whenever it is written."""
    return gzip.compress(content, 6, mtime=0)


def copy(path: Path, target: Path, frame: int | None = None) -> None:
    """Copy a file to `target` (.nii.gz): bit for bit where it is compressed and all of it is meant.

    Of several frames only the one that is asked for is copied. Voxels stay as they are stored.
    """
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    if packed and frame is None:
        shutil.copyfile(path, target)
        return
    with opened(path) as stream:
        content = stream.read()
    target.write_bytes(compressed(content if frame is None else one_frame(content, frame)))


def one_frame(content: bytes, frame: int) -> bytes:
    """Return a file with one of the frames of a file, counted as `read` counts them, the last axis fastest."""
    header = header_in(BytesIO(content))
    shape = extent(header)
    frames = shape[3:] or (1,)
    place = np.ravel_multi_index(np.unravel_index(chosen(header, frame), frames), frames, order="F")
    size = prod(shape[:3]) * header.get_data_dtype().itemsize
    start = header.get_data_offset()
    header.set_data_shape(shape[:3])
    between = content[header.sizeof_hdr : start]
    return bytes(header.binaryblock + between + content[start + place * size : start + (place + 1) * size])


def as_stored(labels: NDArray[np.integer[Any]], like: Image) -> NDArray[np.integer[Any]]:
    """Return labels in the type that a file on the grid of the scan `like` has them in."""
    return labels.astype(type_for(labels, like), copy=False)


def type_for(labels: NDArray[np.integer[Any]], like: Image) -> np.dtype[Any]:
    """Return the type that labels are written as."""
    if labels.shape != like.shape:
        raise ValueError(f"labels have the shape {labels.shape} and their scan {like.shape}; they must agree")
    if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() > np.iinfo(np.uint16).max:
        raise ValueError(
            f"labels are {labels.dtype} from {labels.min()} to {labels.max()}; they must be whole numbers from 0 to "
            "65535"
        )
    return np.dtype(np.uint8 if labels.max() <= np.iinfo(np.uint8).max else np.uint16)


def written(like: Image) -> Any:
    """Return a fresh header with the geometry of a scan's file, or of the scan itself where it came from none."""
    if not like.header:
        return header_of(like)
    kind = nibabel.Nifti1Header if len(like.header) == nibabel.Nifti1Header.sizeof_hdr else nibabel.Nifti2Header
    theirs = kind(like.header, check=False)
    ours = kind()
    ours.set_data_shape(extent(theirs)[:3])
    ours["pixdim"][:4] = theirs["pixdim"][:4]
    for field in GEOMETRY:
        ours[field] = theirs[field]
    return ours


def onto_file(image: Image) -> grid.Affine:
    """Return what takes (z, y, x, 1) of a scan to (k, j, i, 1) of its file."""
    header = written(image)
    return grid.onto_file(header.get_best_affine(), extent(header))


def orientation(image: Image) -> str:
    """Return where the axes (i, j, k) of a scan's file run, as nibabel has it: "RAS" is right, front, head."""
    return "".join(nibabel.aff2axcodes(written(image).get_best_affine()))


def header_of(image: Image) -> Any:
    """Return a NIfTI-1 header of the grid (x, y, z) of an image; without an affine, of its spacing alone."""
    sizes = image.spacing if image.spacing is not None else (1.0,) * len(image.shape)
    affine = np.diag([*reversed(sizes), 1.0]) if image.affine is None else image.affine[:, [2, 1, 0, 3]]
    return header_for(affine, (image.shape[2], image.shape[1], image.shape[0]))


def header_for(affine: grid.Affine, shape: tuple[int, ...]) -> Any:
    """Return a NIfTI-1 header that says in sform and qform that voxels (i, j, k) lie at `affine`, in mm."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    return header


def sidecar(path: Path) -> Path:
    """Return the JSON beside a label file: NAME.json for NAME.nii.gz."""
    name = path.name
    return path.with_name(name[: name.lower().rindex(".nii")] + SIDECAR)


def write_names(names: Mapping[int, str], path: Path) -> None:
    """Write the names of labels, the background among them, as {"classes": {"0": "background", "1": ...}}."""
    told = {0: "background", **names}
    text = json.dumps({"classes": {str(value): told[value] for value in sorted(told)}}, indent=2, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_names(path: Path) -> dict[int, str]:
    """Return the names of labels that stand beside a label file; none where no file tells them."""
    beside = sidecar(path)
    told = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    return {int(value): str(name) for value, name in told.get("classes", {}).items()}
