"""OME-Zarr label images, written block by block: 0.5 (zarr 3) or 0.4 (zarr 2), with a pyramid by nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.io.lazy.zarrs import LABELS
from promptless.labels import LabelSource

CHUNKS = {2: 1024, 3: 128}
"""Pixels per side that a file of the store holds, by the number of axes."""
BLOCK = 2
"""Chunks per side that are written at once, whole ones, so that no two writers touch one file."""
VERSIONS = {"0.5": 3, "0.4": 2}
"""Versions of OME-Zarr, and the format of zarr that each is kept in."""
OBJECTS = "objects"
"""What a label image is called that has no name."""


def shapes(shape: Shape) -> list[Shape]:
    """Return the shapes of the levels of a label image, each half of the one before, down to a single chunk."""
    levels = [shape]
    while max(levels[-1]) > CHUNKS[len(shape)]:
        levels.append(tuple(-(-n // 2) for n in levels[-1]))
    return levels


def create(
    path: Path,
    name: str,
    shape: Shape,
    dtype: np.dtype[Any],
    *,
    pitch: tuple[float, ...],
    unit: str | None,
    version: str,
    source: str | None = None,
) -> None:
    """Make an empty store at `path` with the label image `name` in it, whose pixels are `pitch` units large.

    `source` is the path of the image it is of, as seen from the label image.
    """
    import zarr

    if version not in VERSIONS:
        raise ValueError(f"there is no OME-Zarr {version!r} here; there are {', '.join(VERSIONS)}")
    form = VERSIONS[version]
    root = zarr.open_group(path, mode="w", zarr_format=form, attributes=spoken(version, {}))
    above = root.create_group(LABELS, attributes=spoken(version, {"labels": [name]}))
    about: dict[str, Any] = {"multiscales": [multiscales(name, len(shapes(shape)), pitch, unit, version)]}
    about["image-label"] = {"version": version} | ({} if source is None else {"source": {"image": source}})
    group = above.create_group(name, attributes=spoken(version, about))
    for number, size in enumerate(shapes(shape)):
        chunks = tuple(min(CHUNKS[len(size)], n) for n in size)
        options: dict[str, Any] = {"dimension_names": list("zyx"[-len(size) :])} if form == 3 else {}
        separator = {"name": "v2" if form == 2 else "default", "separator": "/"}
        group.create_array(
            str(number), shape=size, chunks=chunks, dtype=dtype, fill_value=0, chunk_key_encoding=separator, **options
        )


def spoken(version: str, about: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a group: from 0.5 on they are under "ome"."""
    return about if version == "0.4" else {"ome": {"version": version} | about}


def multiscales(name: str, levels: int, pitch: tuple[float, ...], unit: str | None, version: str) -> dict[str, Any]:
    """Return what says how the levels of an image lie."""
    axes = [{"name": axis, "type": "space"} | ({} if unit is None else {"unit": unit}) for axis in "zyx"[-len(pitch) :]]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [float(p) * 2**level for p in pitch]}],
        }
        for level in range(levels)
    ]
    about: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}
    return about | ({"version": version} if version == "0.4" else {})


def blocks(shape: Shape) -> list[tuple[slice, ...]]:
    """Return the regions of an image of `shape` that are written at once, in array order."""
    side = CHUNKS[len(shape)] * BLOCK
    grid = tuple(-(-n // side) for n in shape)
    return [
        tuple(slice(i * side, min((i + 1) * side, n)) for i, n in zip(at, shape, strict=True))
        for at in np.ndindex(*grid)
    ]


def level(path: Path, name: str, number: int) -> Any:
    """Open a level of a label image to read and write."""
    import zarr

    return zarr.open_array(path_of(path, name) / str(number), mode="r+")


def path_of(path: Path, name: str) -> Path:
    """Return where in a store a label image is."""
    return path / LABELS / name


def shrunk(above: Any, region: tuple[slice, ...]) -> NDArray[np.integer]:
    """Return a region of a level made of the one above it: every second pixel."""
    return np.asarray(above[tuple(slice(2 * s.start, 2 * s.stop) for s in region)])[
        (slice(None, None, 2),) * len(region)
    ]


def write(
    labels: LabelSource,
    path: Path,
    dtype: np.dtype[Any],
    spacing: tuple[float, ...] | None,
    *,
    name: str = OBJECTS,
    version: str = "0.5",
) -> None:
    """Write a label image, block by block, as a store at `path`; pixels are `spacing` micrometres large."""
    pitch, unit = ((1.0,) * len(labels.shape), None) if spacing is None else (spacing, "micrometer")
    create(path, name, labels.shape, dtype, pitch=pitch, unit=unit, version=version)
    for number, shape in enumerate(shapes(labels.shape)):
        target = level(path, name, number)
        for region in blocks(shape):
            block = shrunk(level(path, name, number - 1), region) if number else labels[region]
            if block.any():
                target[region] = block
