"""The image files that folders stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from promptless.io.readers.families import suffix_of

OWN_OUTPUTS = (
    *("_labels.tif", "_classes.tif", "_overlay.png"),
    *("_labels.nii.gz", "_probabilities.nii.gz", "_seg.dcm", "_prompt.png"),
)
OWN_TABLES = (
    *("_manifest.json", "_objects.csv", "_objects.parquet", ".geojson", "_prompts.json", "_coco.json", "_rois.zip"),
    *("_volumes.csv", "_labels.json"),
)
"""What else promptless writes beside an image, which nobody would read as one."""
OWN_FOLDER = "_embedding"
LABELS = ("_masks", "_labels")
"""What the name of a label image ends in that lies beside the image it is of."""


def images_in(paths: Iterable[Path], recursive: bool = False, output: Path | None = None) -> list[Path]:
    """Return the image files meant by `paths`: files as they are, folders as the images in them, sorted.

    With `recursive` also those in folders below. What promptless wrote is not read back: no file below
    the folder `output`, and none that a manifest beside it vouches for.
    """
    found: list[Path] = []
    for path in paths:
        found += images(path, recursive, output) if path.is_dir() else [path]
    return list({path.resolve(): path for path in found}.values())


def others_in(paths: Iterable[Path], recursive: bool = False, output: Path | None = None) -> int:
    """Return how many files in the folders among `paths` are no images, or the labels of one."""
    seen = [list(visible(path, recursive, output)) for path in paths if path.is_dir()]
    return sum(
        sum(suffix_of(file) is None and not is_own(file, OWN_TABLES) for file in files)
        + len(labels_among(readable(files)))
        for files in seen
    )


def images(folder: Path, recursive: bool, output: Path | None) -> list[Path]:
    """Return the images in a folder, without label images that lie beside theirs."""
    found = readable(visible(folder, recursive, output))
    labels = labels_among(found)
    return [path for path in found if path not in labels]


def readable(files: Iterable[Path]) -> list[Path]:
    """Return those files that can be read, without what promptless wrote."""
    return [path for path in files if suffix_of(path) and not is_own(path)]


def labels_among(files: Iterable[Path]) -> set[Path]:
    """Return those files that are called as the label images of others."""
    named = {path: str(path.with_suffix("")) for path in files}
    images = set(named.values())
    beside = ((path, name.removesuffix(end)) for path, name in named.items() for end in LABELS if name.endswith(end))
    return {path for path, image in beside if image in images}


def visible(folder: Path, recursive: bool, output: Path | None) -> Iterator[Path]:
    """Yield the files in `folder`, sorted, and with `recursive` those below it; hidden ones and `output` are not."""
    hidden = None if output is None or output.resolve() == folder.resolve() else output.resolve()
    for at, below, names in os.walk(folder):
        here = Path(at)
        entered = [name for name in below if recursive and not name.startswith(".")]
        below[:] = sorted(name for name in entered if (here / name).resolve() != hidden)
        files = (here / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file())


def is_own(path: Path, ends: tuple[str, ...] = OWN_OUTPUTS) -> bool:
    """Return whether promptless wrote this file: a manifest of that name lies beside it, or beside its folder."""
    outputs = [path.with_name(path.name.removesuffix(end)) for end in ends if path.name.endswith(end)]
    if path.parent.name.endswith(OWN_FOLDER):
        outputs.append(path.parent.with_name(path.parent.name.removesuffix(OWN_FOLDER)))
    return any(output.with_name(f"{output.name}_manifest.json").exists() for output in outputs)
