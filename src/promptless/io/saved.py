"""A segmentation read back from where it was saved, to be edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptless.image import Image
from promptless.io import labels
from promptless.io.hashes import sha256
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
        path, written = sources[kind], record["outputs"].get(kind, {})
        if not path.is_file() or sha256(path) != written.get("sha256"):
            raise ValueError(f"{path} is not the file that the manifest names; segment the image again")
    found = labels.read(sources["labels"])
    if found.shape != image.shape:
        raise ValueError(f"{sources['labels']} has {found.shape} pixels, but the image has {image.shape}")
    masks = scored(as_masks(found), sources["objects"])
    return Segmentation(image, found, masks, Prompts.load(sources["prompts"]), record)


def manifest(path: Path) -> dict[str, Any]:
    """Read a manifest that an edit can go on from."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in ("model", "arguments", "image", "prompts", "outputs") if key not in record]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; segment the image again")
    return record
