"""OME-Zarr 0.4 and 0.5 (zarr 2 and 3), and plain zarr arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError
from promptless.image import Shape
from promptless.io.lazy.pyramid import Plane, Pyramid, of_planes
from promptless.io.readers.arrays import axes_of
from promptless.io.readers.choice import Page, choose
from promptless.io.readers.metadata import plausible
from promptless.io.readers.scene import Scene
from promptless.tiles import Region, within

UM = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
"""Micrometres per unit, as OME-Zarr spells the units (UDUNITS-2)."""
RED_GREEN_BLUE = ("FF0000", "00FF00", "0000FF")
"""Display colours of three channels that are colours."""
FIRST_IMAGE = "0"
"""Where the first image is of those that bioformats2raw writes side by side."""
LABELS = "labels"
"""The group in which label images are."""
Metadata = dict[str, Any]


@contextmanager
def ome_zarr(path: Path, page: Page, channel: int | str | None) -> Iterator[Pyramid]:
    """Open one plane of an OME-Zarr image at all its levels, or of a zarr array at its one."""
    node = node_at(path)
    yield of_array(node, page, channel) if hasattr(node, "shape") else of_group(node, page, channel)


def node_at(path: Path) -> Any:
    """Open a zarr array or group."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"OME-Zarr needs {error.name}: pip install 'promptless[large]'") from error
    try:
        return zarr.open(path, mode="r")
    except (FileNotFoundError, ValueError, zarr.errors.GroupNotFoundError) as error:
        raise UnreadableImageError("is a folder, and no zarr array or group; name a file in it") from error


def labels(path: Path) -> tuple[Labels, tuple[float, ...] | None]:
    """Open a label image at its largest level, without decoding it; return the pixel size in micrometres, too.

    That is a zarr array, a group with multiscales, or the only one under `labels` in a group.
    """
    node = node_at(path)
    if hasattr(node, "shape"):
        return Labels.of(node, "tczyx"[-node.ndim :]), None
    about = metadata(node)
    if LABELS in node:
        inside = sorted(name for name, _ in node[LABELS].members())
        if len(inside) != 1:
            held = (
                f"the label images {', '.join(inside)}; name one of these folders in it" if inside else "no label image"
            )
            raise UnreadableImageError(f"holds {held}")
        node = node[f"{LABELS}/{inside[0]}"]
        about = metadata(node)
    if "multiscales" not in about:
        raise UnreadableImageError("is a zarr group without multiscales; name an array in it")
    described = about["multiscales"][0]
    axes = names_of(described)
    found = Labels.of(member(node, str(described["datasets"][0]["path"])), axes)
    return found, spacing(described, 0, found.axes)


@dataclass(frozen=True, eq=False)
class Labels:
    """A zarr array without its axes of length 1 beside y and x; it is read as it is sliced."""

    array: Any
    kept: tuple[int, ...]
    axes: str

    @classmethod
    def of(cls, array: Any, axes: Sequence[str]) -> Labels:
        """Return an array with these axes, refusing what is no plane or volume."""
        kept = tuple(i for i, axis in enumerate(axes) if axis in "yx" or array.shape[i] > 1)
        names = "".join(axes[i] for i in kept)
        if len(axes) != array.ndim or names not in ("yx", "zyx"):
            shape = ", ".join(f"{axis} {n}" for axis, n in zip(axes, array.shape, strict=False))
            raise UnreadableImageError(f"has the axes {shape}; a label image has y and x, and may have z before them")
        return cls(array, kept, names)

    @property
    def shape(self) -> Shape:
        """The spatial shape."""
        return tuple(self.array.shape[i] for i in self.kept)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a label."""
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    def __getitem__(self, index: slice | Region) -> NDArray[np.generic]:
        inside = dict(zip(self.kept, within(index, self.shape), strict=True))
        return np.asarray(self.array[tuple(inside.get(i, 0) for i in range(self.array.ndim))])


def of_array(array: Any, page: Page, channel: int | str | None) -> Pyramid:
    """Return a zarr array that says nothing of its axes."""
    known = Scene(axes_of(array), array.shape, np.dtype(array.dtype))
    choice = choose([known], page, channel)
    return noting(of_planes([Plane(array, known, choice)], choice, [None]), [array])


def of_group(group: Any, page: Page, channel: int | str | None) -> Pyramid:
    """Return the first multiscale image of a group."""
    about = metadata(group)
    if "multiscales" not in about:
        group, about = first_image(group, about)
    described = about["multiscales"][0]
    arrays = [member(group, str(entry["path"])) for entry in described["datasets"]]
    scenes = [scene(array, described, about) for array in arrays]
    choice = choose(scenes[:1], page, channel)
    sizes = [spacing(described, number) for number in range(len(arrays))]
    planes = [Plane(array, known, choice) for array, known in zip(arrays, scenes, strict=True)]
    return noting(replace(of_planes(planes, choice, sizes), voxel=lengths(described, 0, "zyx")), arrays)


def metadata(group: Any) -> Metadata:
    """Return what OME-Zarr says of a group: 0.5 says it under "ome", 0.4 beside all else."""
    attributes = dict(group.attrs)
    return dict(attributes.get("ome", attributes))


def first_image(group: Any, about: Metadata) -> tuple[Any, Metadata]:
    """Return the only image of a collection, refusing a group in which it is not clear what the image is."""
    if "bioformats2raw.layout" in about and FIRST_IMAGE in group and "1" not in group:
        inner = group[FIRST_IMAGE]
        return inner, metadata(inner)
    if "plate" in about or "well" in about or "bioformats2raw.layout" in about:
        raise UnreadableImageError("holds several images (a plate, a well, a series); name one of the groups in it")
    inside = ", ".join(sorted(name for name, _ in group.members())) or "nothing"
    raise UnreadableImageError(
        f"is a zarr group without multiscales, so its axes are not known; it holds {inside}: name an array in it"
    )


def member(group: Any, name: str) -> Any:
    """Return the array of a level, which must be there."""
    if name not in group:
        raise UnreadableImageError(f"names the level {name!r}, which is not there; it may be damaged or half copied")
    return group[name]


def names_of(described: Metadata) -> list[str]:
    """Return the names of the axes of a multiscale image."""
    return [axis["name"] if isinstance(axis, dict) else str(axis) for axis in described.get("axes", "tczyx")]


def scene(array: Any, described: Metadata, about: Metadata) -> Scene:
    """Return the axes of a level; what is neither space, time nor channel counts pages."""
    names = names_of(described)
    if len(names) != array.ndim:
        raise UnreadableImageError(f"has axes {', '.join(names)} by its metadata, but arrays of {array.ndim} axes")
    letters = "".join(name.upper() if name in "tczyx" and len(name) == 1 else "Q" for name in names)
    channels = about.get("omero", {}).get("channels", [])
    n = array.shape[letters.index("C")] if "C" in letters else 0
    if n == 3 and tuple(str(channel.get("color", "")).upper() for channel in channels) == RED_GREEN_BLUE:
        letters = letters.replace("C", "S")
    called = tuple(str(channel.get("label", "")) for channel in channels)
    known = called if len(called) == n and len(set(called)) == n and all(called) and "C" in letters else ()
    return Scene(letters, array.shape, np.dtype(array.dtype), channel_names=known)


def spacing(described: Metadata, level: int, wanted: str = "yx") -> tuple[float, ...] | None:
    """Return the pixel size of a level along the `wanted` axes in micrometres, if it is a microscope's."""
    return plausible(lengths(described, level, wanted))


def lengths(described: Metadata, level: int, wanted: str) -> tuple[float, ...] | None:
    """Return the size of a pixel along the `wanted` axes in micrometres, None where it is not known."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in described.get("axes", ())]
    transforms = described["datasets"][level].get("coordinateTransformations", [])
    transforms = [*transforms, *described.get("coordinateTransformations", [])]
    factors = [entry["scale"] for entry in transforms if entry.get("type") == "scale"]
    if not factors or any(len(factor) != len(axes) for factor in factors):
        return None
    scale = np.prod(np.array(factors, np.float64), axis=0)
    sizes = {a["name"]: float(s) * UM.get(a.get("unit", ""), 0.0) for a, s in zip(axes, scale, strict=True)}
    return tuple(sizes[axis] for axis in wanted) if all(sizes.get(axis) for axis in wanted) else None


def noting(pyramid: Pyramid, arrays: list[Any]) -> Pyramid:
    """Say where chunks of the largest level are not there: zarr reads them as its fill value."""
    array = arrays[0]
    missing = array.nchunks - array.nchunks_initialized
    if missing <= 0:
        return pyramid
    note = f"{missing} of {array.nchunks} chunks are not stored, and read as {array.fill_value}"
    origin = replace(pyramid.origin, notes=(*pyramid.origin.notes, note))
    return replace(pyramid, origin=origin)
