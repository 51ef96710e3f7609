"""A segmentation read back from where it was saved, to be edited."""

from __future__ import annotations

from pathlib import Path

from promptless.image import Image
from promptless.io import labels, manifests
from promptless.io.labelled import scored
from promptless.io.outputs import paths, wanted
from promptless.labels import as_masks
from promptless.prompts import Prompts
from promptless.result import Segmentation


def load(folder: Path, name: str, image: Image) -> Segmentation:
    """Read what `save` wrote into `folder` as NAME_labels.tif and so on; `image` is what was segmented.

    The label image and the table must be those that the manifest names. The prompts may have been edited.
    """
    sources = paths(folder, name, wanted())
    record = manifest(sources["manifest"])
    for kind in ("labels", "objects"):
        if not manifests.vouches(record, kind, sources[kind]):
            raise ValueError(f"{sources[kind]} is not the file that the manifest names; segment the image again")
    found = labels.read(sources["labels"])
    if found.shape != image.shape:
        raise ValueError(f"{sources['labels']} has {found.shape} pixels, but the image has {image.shape}")
    masks = scored(as_masks(found), sources["objects"])
    return Segmentation(image, found, masks, Prompts.load(sources["prompts"]), record)


def manifest(path: Path) -> manifests.Record:
    """Read a manifest that an edit can go on from."""
    record = manifests.read(path)
    missing = [key for key in ("model", "arguments", "image", "prompts", "outputs") if key not in record]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; segment the image again")
    return record
