"""From any file of labels to any other: what formats there are, and how labels are written in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from promptless.io import classes, coco, geojson, labels, ngff, outputs
from promptless.io.atomic import alone, staging
from promptless.io.labelled import WHOLE, Labelled


@dataclass(frozen=True)
class Format:
    """A kind of file: what it adds to NAME, how else its names end, what writes it, and whether it holds planes alone.

    `needs` is the package that it takes beyond the core, and `extra` what brings that.
    """

    suffix: str
    endings: tuple[str, ...]
    write: Callable[[Labelled, Path], None]
    planar: bool = False
    needs: str = ""
    extra: str = "formats"


def write_labels(known: Labelled, path: Path) -> None:
    """Write TIFF: of a small image as a run does, of a large one by the tile."""
    if prod(known.labels.shape) <= WHOLE or len(known.labels.shape) != 2:
        labels.write(known.whole(), path)
    else:
        labels.write_pyramid(known.labels, path, labels.smallest_type(known.labels), micrometres(known), levels=1)


def write_pyramid(known: Labelled, path: Path) -> None:
    """Write tiled OME-TIFF with smaller levels."""
    labels.write_pyramid(known.labels, path, labels.smallest_type(known.labels), micrometres(known))


def write_zarr(known: Labelled, path: Path) -> None:
    """Write OME-Zarr."""
    ngff.write(known.labels, path, labels.smallest_type(known.labels), micrometres(known))


def write_npy(known: Labelled, path: Path) -> None:
    """Write an array."""
    shape, dtype = known.labels.shape, labels.smallest_type(known.labels)
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    for region in ngff.blocks(shape):
        array[region] = known.labels[region]
    array.flush()


def write_png(known: Labelled, path: Path) -> None:
    """Write a grey PNG of 8 bits, or of 16 where there are labels above 255."""
    found = np.asarray(known.labels[:])
    highest = found.max(initial=0)
    if highest > labels.LARGEST_UINT16 or found.min(initial=0) < 0:
        raise ValueError(f"PNG holds labels up to {labels.LARGEST_UINT16}, but there is {highest}; write TIFF")
    dtype = np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16
    PillowImage.fromarray(found.astype(dtype)).save(path)


def write_geojson(known: Labelled, path: Path) -> None:
    """Write outlines in pixels of the full image."""
    geojson.write_parts(known.parts(), path, known.pitch)


def write_roi(known: Labelled, path: Path) -> None:
    """Write ImageJ ROIs."""
    from promptless.io import roi

    roi.write_parts(known.parts(), path)


def write_coco(known: Labelled, path: Path) -> None:
    """Write COCO annotations."""
    coco.write_parts(known.parts(), known.labels.shape, known.manifest, path)


def write_objects(known: Labelled, path: Path) -> None:
    """Write the object table as CSV."""
    outputs.write_tables(known.parts(), path)


def write_parquet(known: Labelled, path: Path) -> None:
    """Write the object table as Parquet."""
    from promptless.io import parquet

    parquet.write_parts(known.parts(), path)


def write_classes(known: Labelled, path: Path) -> None:
    """Write the class map."""
    classes.write(known.whole(), path)


def micrometres(known: Labelled) -> tuple[float, ...] | None:
    """Return the size of a pixel in micrometres, None where it is not known."""
    scale = {"um": 1.0, "mm": 1e3}[known.unit]
    return None if known.spacing is None else tuple(scale * float(s) for s in known.spacing)


FORMATS = {
    "labels": Format("_labels.tif", (".tif", ".tiff"), write_labels),
    "ome-tiff": Format("_labels.ome.tif", (".ome.tif", ".ome.tiff"), write_pyramid, planar=True),
    "ome-zarr": Format(".ome.zarr", (".zarr",), write_zarr, needs="zarr", extra="large"),
    "png": Format("_labels.png", (".png",), write_png, planar=True),
    "npy": Format("_labels.npy", (".npy",), write_npy),
    "objects": Format("_objects.csv", (".csv",), write_objects),
    "geojson": Format(".geojson", (".geojson", ".geojson.gz"), write_geojson, planar=True),
    "roi": Format("_rois.zip", (".zip",), write_roi, planar=True, needs="roifile"),
    "coco": Format("_coco.json", (".json",), write_coco, planar=True),
    "classes": Format("_classes.tif", (), write_classes),
    "parquet": Format("_objects.parquet", (".parquet",), write_parquet, needs="pyarrow"),
}
"""What labels can be written as; those that a run writes, too, are called alike."""


def format_of(path: Path) -> str | None:
    """Return the kind of file that a name says, None where it says none."""
    name = path.name.lower()
    fits = [(len(ending), kind) for kind, known in FORMATS.items() for ending in known.endings if name.endswith(ending)]
    return max(fits)[1] if fits else None


def installed(kinds: Iterable[str]) -> None:
    """Raise where a kind needs what is not installed."""
    for kind in kinds:
        outputs.need(kind, FORMATS[kind].needs, FORMATS[kind].extra)


def save(known: Labelled, source: Path, targets: dict[str, Path]) -> None:
    """Write labels from the file `source` as every kind in `targets`, in one folder: all of them or none."""
    shape = known.labels.shape
    flat = [kind for kind in targets if FORMATS[kind].planar]
    if flat and len(shape) != 2:
        raise ValueError(
            f"{source} has {len(shape)} axes {shape}, and {', '.join(flat)} hold a plane; convert one plane at a time"
        )
    folder = next(iter(targets.values())).parent
    with alone(folder), staging(folder, next(iter(targets.values())).name) as aside:
        for kind, path in targets.items():
            FORMATS[kind].write(known, aside / path.name)
        for path in targets.values():
            if path.is_dir():
                shutil.rmtree(path)
            (aside / path.name).replace(path)
