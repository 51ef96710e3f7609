"""Everything that a segmentation is saved as."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from promptless.io import geojson, overlay
from promptless.io.atomic import replacing
from promptless.io.hashes import sha256
from promptless.result import Segmentation

Writer = Callable[[Segmentation, Path], None]

LARGEST_UINT16 = 65_535


def write_labels(segmentation: Segmentation, path: Path) -> None:
    """Write the label image as uint16 where that suffices, else uint32, compressed without loss."""
    dtype = np.uint16 if segmentation.labels.max(initial=0) <= LARGEST_UINT16 else np.uint32
    spacing, unit = segmentation.image.spacing, segmentation.image.unit
    known = spacing is not None and unit == "um"
    tifffile.imwrite(
        path,
        segmentation.labels.astype(dtype),
        compression="zlib",
        resolution=tuple(1e4 / s for s in reversed(spacing[-2:])) if known and spacing else None,
        resolutionunit="CENTIMETER" if known else None,
        metadata=None,
    )


def write_objects(segmentation: Segmentation, path: Path) -> None:
    """Write the object table as CSV."""
    objects = segmentation.objects
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(objects))
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in objects.rows()
        )


def write_prompts(segmentation: Segmentation, path: Path) -> None:
    """Write the prompts."""
    segmentation.prompts.save(path)


def write_overlay(segmentation: Segmentation, path: Path) -> None:
    """Write the overlay."""
    overlay.write(segmentation.image, segmentation.labels, path)


def write_manifest(segmentation: Segmentation, path: Path) -> None:
    """Write the record of the run."""
    path.write_text(json.dumps(segmentation.manifest, indent=2) + "\n", encoding="utf-8")


WRITERS: dict[str, tuple[str, Writer]] = {
    "labels": ("_labels.tif", write_labels),
    "objects": ("_objects.csv", write_objects),
    "prompts": ("_prompts.json", write_prompts),
    "geojson": (".geojson", geojson.write),
    "overlay": ("_overlay.png", write_overlay),
    "manifest": ("_manifest.json", write_manifest),
}
"""Outputs by kind, in the order of writing: the manifest comes last and says that the others are there."""


def paths(folder: Path, name: str) -> dict[str, Path]:
    """Return where the outputs of the image `name` go, by kind."""
    return {kind: folder / f"{name}{suffix}" for kind, (suffix, _) in WRITERS.items()}


def save(segmentation: Segmentation, folder: Path, name: str) -> dict[str, Path]:
    """Write every output, each whole or not at all, and return the paths by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = paths(folder, name)
    targets["manifest"].unlink(missing_ok=True)  # what it vouches for is about to change
    hashes: dict[str, str] = {}
    for kind, (_, write) in WRITERS.items():
        if kind == "manifest":
            segmentation = replace(segmentation, manifest=segmentation.manifest | {"outputs": hashes})
        with replacing(targets[kind]) as temporary:
            write(segmentation, temporary)
            hashes[targets[kind].name] = sha256(temporary)
    return targets
