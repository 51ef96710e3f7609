"""Everything that a segmentation is saved as."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from numpy.typing import NDArray

from promptless.io import classes, coco, geojson, labels, manifests, overlay
from promptless.io.atomic import alone, staged, staging
from promptless.io.hashes import sha256
from promptless.result import Objects, Segmentation, Told, VolumeSegmentation

Result = Segmentation | VolumeSegmentation
Writer = Callable[[Any, Path], None]
"""Writes a `Segmentation` or a `VolumeSegmentation`, whichever has such an output."""


@dataclass(frozen=True)
class Output:
    """A kind of output: how its file's name ends, what writes it, and the package it needs beyond the core."""

    suffix: str
    write: Writer
    needs: str = ""


def write_objects(segmentation: Told, path: Path) -> None:
    """Write the object table as CSV."""
    write_tables([segmentation], path)


def write_tables(parts: Iterable[Told], path: Path) -> None:
    """Write the object tables of all parts, at least one, as one CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        for i, part in enumerate(parts):
            objects = part.objects
            if not i:
                csv.writer(file).writerow(objects)
            write_rows(objects, file)


def write_rows(objects: Objects, file: TextIO) -> None:
    """Write the rows of an object table as CSV, without a header."""
    csv.writer(file).writerows(zip(*map(cells, objects.values()), strict=True))


def cells(column: NDArray[Any]) -> Iterable[Any]:
    """Return the values of a column as CSV has them."""
    values = column.tolist()
    return map("{:.9g}".format, values) if column.dtype.kind == "f" else values


def write_prompts(segmentation: Segmentation, path: Path) -> None:
    """Write the prompts."""
    image = segmentation.manifest.get("input", {}).get("sha256", "")
    replace(segmentation.prompts, image=image).save(path)


def write_manifest(segmentation: Result, path: Path) -> None:
    """Write the record of the run."""
    path.write_text(json.dumps(segmentation.manifest, indent=2) + "\n", encoding="utf-8")


def write_roi(segmentation: Segmentation, path: Path) -> None:
    """Write the ROI zip."""
    from promptless.io import roi

    roi.write(segmentation, path)


def write_parquet(segmentation: Segmentation, path: Path) -> None:
    """Write the object table as Parquet."""
    from promptless.io import parquet

    parquet.write(segmentation, path)


WRITERS: dict[str, Output] = {
    "labels": Output("_labels.tif", labels.write),
    "objects": Output("_objects.csv", write_objects),
    "prompts": Output("_prompts.json", write_prompts),
    "geojson": Output(".geojson", geojson.write),
    "overlay": Output("_overlay.png", overlay.write_outlines),
    "roi": Output("_rois.zip", write_roi, needs="roifile"),
    "coco": Output("_coco.json", coco.write),
    "classes": Output("_classes.tif", classes.write),
    "parquet": Output("_objects.parquet", write_parquet, needs="pyarrow"),
    "manifest": Output("_manifest.json", write_manifest),
}
"""Outputs by kind, in the order of writing: the manifest comes last and says that the others are there."""
OVERLAYS: dict[str, Writer] = {"outlines": overlay.write_outlines, "prompts": overlay.write_prompts}
PLAIN = "outlines"
ALWAYS = ("labels", "objects", "prompts", "geojson", "overlay", "manifest")
ON_REQUEST = ("roi", "coco", "classes", "parquet")
FROM_LABELS = ("labels", "objects", "geojson", *ON_REQUEST)
"""Kinds that can be made of a label image alone."""
OF_SCANS = {
    "labels": "_labels.nii.gz",
    "names": "_labels.json",
    "volumes": "_volumes.csv",
    "overlay": "_overlay.png",
    "seg": "_seg.dcm",
    "probabilities": "_probabilities.nii.gz",
    "prompt": "_prompt.png",
    "manifest": "_manifest.json",
}
"""How the files of a scan end, by kind, in the order of writing; "seg" is for scans from DICOM."""
SCANS_ON_REQUEST = ("probabilities", "prompt")


def wanted(also: Iterable[str] = (), style: str = PLAIN) -> dict[str, Output]:
    """Return the outputs of a segmentation: those that are always written, and `also` some of `ON_REQUEST`."""
    if style not in OVERLAYS:
        raise ValueError(f"there is no overlay {style!r}; there are {', '.join(OVERLAYS)}")
    found = checked(ALWAYS, ALWAYS) | checked(also, ON_REQUEST)
    found["overlay"] = replace(found["overlay"], write=OVERLAYS[style])
    return {kind: found[kind] for kind in WRITERS if kind in found}


def of_scan(also: Iterable[str] = (), dicom: bool = False) -> dict[str, Output]:
    """Return the outputs of a scan: those that are always written, and `also` some of `SCANS_ON_REQUEST`."""
    for package in ("nibabel", *(("pydicom", "highdicom") if dicom else ())):
        if find_spec(package) is None:
            raise ImportError(f"scans need {package}: pip install 'promptless[volume]'")
    from promptless.io.scans import results

    also = set(also)
    if also - set(SCANS_ON_REQUEST):
        raise ValueError(
            f"of a scan there is no output {', '.join(sorted(also - set(SCANS_ON_REQUEST)))}; there are "
            f"{', '.join(SCANS_ON_REQUEST)}"
        )
    writers: dict[str, Writer] = {
        "labels": results.write_labels,
        "names": results.write_names,
        "volumes": results.write_volumes,
        "overlay": results.write_overlay,
        "seg": results.write_seg,
        "probabilities": results.write_probabilities,
        "prompt": results.write_prompt,
        "manifest": write_manifest,
    }
    left_out = set(SCANS_ON_REQUEST) - also | ({"seg"} if not dicom else set())
    return {kind: Output(suffix, writers[kind]) for kind, suffix in OF_SCANS.items() if kind not in left_out}


def checked(kinds: Iterable[str], known: Sequence[str]) -> dict[str, Output]:
    """Return the outputs of these kinds; raise where one is not `known`, or needs what is not installed."""
    found = {}
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"there is no output {kind!r}; there are {', '.join(known)}")
        found[kind] = WRITERS[kind]
        need(kind, found[kind].needs)
    return found


def need(kind: str, package: str, extra: str = "formats") -> None:
    """Raise where a kind of output needs a package, if any, that is not installed."""
    if package and find_spec(package) is None:
        raise ImportError(f"{kind} needs {package}: pip install 'promptless[{extra}]'")


def paths(folder: Path, name: str, outputs: dict[str, Output]) -> dict[str, Path]:
    """Return where the outputs of the image `name` go, by kind."""
    return {kind: folder / f"{name}{output.suffix}" for kind, output in outputs.items()}


def save(segmentation: Result, folder: Path, name: str, outputs: dict[str, Output]) -> dict[str, Path]:
    """Write outputs, all of them or none, and return the paths by kind.

    They are written beside their places first, so that what fails half-way loses nothing. The manifest, which
    vouches for the others by their hashes, is taken away before they are put in place, and comes last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = paths(folder, name, outputs)
    with alone(folder), staging(folder, name) as aside:
        written: dict[str, dict[str, str]] = {}
        for kind, output in outputs.items():
            if kind == "manifest":
                segmentation = replace(segmentation, manifest=segmentation.manifest | {"outputs": written})
            output.write(segmentation, aside / targets[kind].name)
            written[kind] = {"file": targets[kind].name, "sha256": sha256(aside / targets[kind].name)}
        if "manifest" in targets:
            withdraw(targets["manifest"], keep=set(written))
        for path in targets.values():
            (aside / path.name).replace(path)
    return targets


def withdraw(manifest: Path, keep: set[str]) -> None:
    """Delete a manifest whose outputs are about to change, and those of them that will not be written again."""
    if not manifest.is_file():
        return
    try:
        before = manifests.written(manifests.read(manifest), manifest.parent)
    except ValueError:  # damaged: it vouches for nothing
        before = {}
    manifest.unlink()
    for kind, path in before.items():
        if kind not in keep and kind in {*WRITERS, *OF_SCANS}:
            path.unlink(missing_ok=True)


def foreign(folder: Path, name: str, outputs: dict[str, Output]) -> list[Path]:
    """Return the files in the places of outputs that promptless did not write there, or that were changed since.

    What a killed process has put in place without its manifest is not foreign: its staging folder is still there.
    """
    targets = paths(folder, name, outputs)
    if not folder.is_dir() or staged(folder, name):
        return []
    there = targets["manifest"]
    record = manifests.read(there) if there.is_file() else {}
    others = {kind: path for kind, path in targets.items() if kind != "manifest" and path.exists()}
    return [path for kind, path in others.items() if not manifests.vouches(record, kind, path)]
