"""Any folder of images and label images: `images/NAME.*` with `masks/NAME.*`, or `NAME.*` beside `NAME_masks.*`.

`labels/` serves as `masks/`, and any ending that says labels (`_labels`, `_mask`, `_gt`, ...) as `_masks`. Where
`classes/NAME.csv` (columns label and class) is there, it has the objects' classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from promptless.data.prepared import IMAGES, UNSORTED, Facts, read_classes
from promptless.data.sample import Sample
from promptless.data.source import Source, both
from promptless.io import label_files, labels, readers
from promptless.io.pairs import by_name, core, stem
from promptless.io.readers.folders import images_in


def read(
    folder: Path, *, mpp: float | None = None, category: str = UNSORTED, classes: Sequence[str] = ()
) -> Source[Sample]:
    """Find images and label images of the same name; `mpp` is the size of a pixel where the files do not say.

    `classes` are the names of the classes 1, 2, ... .
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; name the one that holds images and label images")
    pictures, apart = subfolder(folder, "images"), subfolder(folder, "masks", "labels")
    if apart != folder:
        images = by_name(images_in([pictures]), stem)
        masks = matching(images, label_like(apart))
    else:
        images = by_name((path for path in images_in([pictures]) if core(path) == stem(path)), stem)
        masks = by_name((path for path in label_like(pictures) if core(path) != stem(path)), core)
    ids, unpaired = both(images, masks)
    facts = Facts(folder.resolve().name, "unknown", "", dict(enumerate(classes, start=1)))
    return Source(
        facts, IMAGES, ids, partial(load, images, masks, folder / "classes", mpp, category), unpaired=unpaired
    )


def subfolder(folder: Path, *names: str) -> Path:
    """Return the first folder of these names in `folder`, itself where there is none."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def label_like(folder: Path) -> list[Path]:
    """Return the files that hold labels, or should: a JPEG is among them, to be refused with the reason."""
    known = {*label_files.READERS, *label_files.LOSSY}
    return sorted(p for p in folder.iterdir() if label_files.suffix(p) in known and not p.name.startswith("."))


def matching(images: Iterable[str], paths: list[Path]) -> dict[str, Path]:
    """Return label images by the name of their image: their own stem where an image has it, else without ending."""
    names = set(images)
    return by_name(paths, lambda path: stem(path) if stem(path) in names else core(path))


def load(
    images: dict[str, Path], masks: dict[str, Path], classes: Path, mpp: float | None, category: str, name: str
) -> Sample:
    """Return one image with what its file says of the size of a pixel."""
    image = readers.read(images[name])
    size = mpp if image.spacing is None else float(np.mean(image.spacing))
    return Sample(name, category, image.data, labels.read(masks[name]), size, read_classes(classes / f"{name}.csv"))
