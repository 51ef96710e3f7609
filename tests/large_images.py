"""Images in files, segmented as large ones are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import tifffile
import zarr

from made_up import NullModel
from promptless import large


def stack_of(planes: np.ndarray, path: Path, axes: str = "zyx", *, steps: tuple[int, ...] = (1,)) -> Path:
    """Write planes as OME-Zarr, at every so many pixels of y and x; planes lie 2 um apart, pixels 0.5 um."""
    group = zarr.open_group(path, mode="w")
    datasets = []
    for level, step in enumerate(steps):
        part = planes[tuple(slice(None, None, step if axis in "yx" else 1) for axis in axes)]
        group.create_array(str(level), data=part, chunks=tuple(min(32, n) for n in part.shape))
        scale = [{"z": 2.0, "y": 0.5 * step, "x": 0.5 * step}.get(axis, 1.0) for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"c": "channel", "t": "time"}
    about = [{"name": a, "type": kinds.get(a, "space")} | ({"unit": "micrometer"} if a in "zyx" else {}) for a in axes]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": about, "datasets": datasets}]}
    return path


def labels_of(pixels: np.ndarray, folder: Path, name: str = "out", model=None, **options):
    """Return the label image (y, x) of `pixels`, written into and read from `folder`, and the summary of the run."""
    path = folder / "image.tif"
    if not path.exists():
        tifffile.imwrite(path, pixels, tile=(32, 32), compression="zlib")
    out = folder / f"{name}.ome.zarr"
    summary = large.segment(path, out, model or NullModel(), **options)
    return zarr.open_array(out / "labels" / "nuclei" / "0", mode="r")[:], summary


def nothing_ahead(here, steps) -> AbstractContextManager:
    """Do nothing ahead, in the place of `Here.ahead`: a run takes one step after the other."""
    return nullcontext(lambda number: None)
