"""OME-Zarr label images, written block by block: 0.5 (zarr 3) or 0.4 (zarr 2), with a pyramid by nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.io.lazy.zarrs import LABELS
from promptless.labels import LabelSource
from promptless.tiles import Region, tiles

CHUNKS = {2: 1024, 3: 128}
"""Pixels per side that a file of the store holds, by the number of axes."""
PLANES = (1, CHUNKS[2], CHUNKS[2])
"""Pixels per side that a file holds of a stack whose planes are apart."""
BLOCK = 2
"""Chunks per side that are written at once, whole ones, so that no two writers touch one file."""
VERSIONS = {"0.5": 3, "0.4": 2}
"""Versions of OME-Zarr, and the format of zarr that each is kept in."""
UM = "micrometer"
Units = tuple[str | None, ...]
"""Of what the size of a pixel is, along each axis; None where that is not known."""
OBJECTS = "objects"
"""What a label image is called that has no name."""


def chunked(shape: Shape) -> Shape:
    """Return the pixels per side that a file holds of a label image."""
    return (CHUNKS[len(shape)],) * len(shape)


def shapes(shape: Shape, chunks: Shape = ()) -> list[Shape]:
    """Return the shapes of the levels of a label image, each half of the one before, down to a single chunk.

    Planes that are apart stay so: along an axis of which a chunk holds one, nothing is made smaller.
    """
    sides = chunks or chunked(shape)
    levels = [shape]
    while any(n > side > 1 for n, side in zip(levels[-1], sides, strict=True)):
        levels.append(tuple(-(-n // step) for n, step in zip(levels[-1], steps(sides), strict=True)))
    return levels


def steps(chunks: Shape) -> Shape:
    """Return how many pixels of a level become one of the next, along each axis."""
    return tuple(2 if side > 1 else 1 for side in chunks)


def form_of(version: str) -> int:
    """Return the format of Zarr that a version of OME-Zarr takes; raise where it is not known."""
    if version not in VERSIONS:
        raise ValueError(f"there is no OME-Zarr {version!r} here; there are {', '.join(VERSIONS)}")
    return VERSIONS[version]


def create(
    path: Path,
    name: str,
    shape: Shape,
    dtype: np.dtype[Any],
    *,
    pitch: tuple[float, ...],
    units: Units,
    version: str,
    source: str | None = None,
    chunks: Shape = (),
    names: dict[int, str] | None = None,
) -> None:
    """Make an empty store at `path` with the label image `name` in it, whose pixels are `pitch` units large.

    `source` is the path of the image it is of, as seen from the label image; `names` are those of labels that stand for
    classes.
    """
    import zarr

    form = form_of(version)
    root = zarr.open_group(path, mode="w", zarr_format=form, attributes=spoken(version, {}))
    above = root.create_group(LABELS, attributes=spoken(version, {"labels": [name]}))
    sides = chunks or chunked(shape)
    sizes = shapes(shape, sides)
    about: dict[str, Any] = {"multiscales": [multiscales(name, len(sizes), pitch, units, steps(sides), version)]}
    about["image-label"] = {"version": version} | ({} if source is None else {"source": {"image": source}})
    if names:
        about["image-label"]["properties"] = [{"label-value": label, "class": of} for label, of in names.items()]
    group = above.create_group(name, attributes=spoken(version, about))
    for number, size in enumerate(sizes):
        options: dict[str, Any] = {"dimension_names": list("zyx"[-len(size) :])} if form == 3 else {}
        separator = {"name": "v2" if form == 2 else "default", "separator": "/"}
        group.create_array(
            str(number),
            shape=size,
            chunks=tuple(map(min, sides, size)),
            dtype=dtype,
            fill_value=0,
            chunk_key_encoding=separator,
            **options,
        )


def spoken(version: str, about: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a group: from 0.5 on they are under "ome"."""
    return about if version == "0.4" else {"ome": {"version": version} | about}


def multiscales(
    name: str, levels: int, pitch: tuple[float, ...], units: Units, steps: Shape, version: str
) -> dict[str, Any]:
    """Return what says how the levels of an image lie."""
    axes = [
        {"name": axis, "type": "space"} | ({} if unit is None else {"unit": unit})
        for axis, unit in zip("zyx"[-len(pitch) :], units, strict=True)
    ]
    datasets = []
    for level in range(levels):
        scale = [float(p) * step**level for p, step in zip(pitch, steps, strict=True)]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    about: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}
    return about | ({"version": version} if version == "0.4" else {})


def blocks(shape: Shape, chunks: Shape = ()) -> list[Region]:
    """Return the regions of an image of `shape` that are written at once, in array order."""
    sides = tuple(side * BLOCK if side > 1 else 1 for side in chunks or chunked(shape))
    return [tile.core for tile in tiles(shape, sides, (0,) * len(shape))]


def level(path: Path, name: str, number: int) -> Any:
    """Open a level of a label image to read and write."""
    import zarr

    return zarr.open_array(path_of(path, name) / str(number), mode="r+")


def path_of(path: Path, name: str) -> Path:
    """Return where in a store a label image is."""
    return path / LABELS / name


def shrunk(above: Any, region: Region, chunks: Shape = ()) -> NDArray[np.integer]:
    """Return a region of a level made of the one above it: every second pixel."""
    by = steps(chunks or chunked(above.shape))
    inside = tuple(slice(step * s.start, step * s.stop) for step, s in zip(by, region, strict=True))
    return np.asarray(above[inside])[tuple(slice(None, None, step) for step in by)]


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
    ndim = len(labels.shape)
    pitch, units = ((1.0,) * ndim, (None,) * ndim) if spacing is None else (spacing, (UM,) * ndim)
    create(path, name, labels.shape, dtype, pitch=pitch, units=units, version=version)
    target = level(path, name, 0)
    for region in blocks(labels.shape):
        block = labels[region]
        if block.any():
            target[region] = block
    shrink(path, name)


def shrink(path: Path, name: str) -> None:
    """Write the smaller levels of a label image whose largest is there."""
    above = level(path, name, 0)
    for number, shape in enumerate(shapes(above.shape)[1:], start=1):
        target = level(path, name, number)
        for region in blocks(shape):
            block = shrunk(above, region)
            if block.any():
                target[region] = block
        above = target
