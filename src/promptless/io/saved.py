"""A segmentation read back from where it was saved, to be edited."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from promptless import labels as label_images
from promptless.image import Image
from promptless.io.hashes import sha256
from promptless.io.outputs import paths
from promptless.masks import Masks
from promptless.prompts import Prompts
from promptless.result import Segmentation


def load(folder: Path, name: str, image: Image) -> Segmentation:
    """Read what `save` wrote into `folder` as NAME_labels.tif and so on; `image` is what was segmented.

    The label image and the table must be those that the manifest names. The prompts may have been edited.
    """
    sources = paths(folder, name)
    record = manifest(sources["manifest"])
    for kind in ("labels", "objects"):
        if not sources[kind].is_file() or sha256(sources[kind]) != record["outputs"].get(sources[kind].name):
            raise ValueError(f"{sources[kind]} is not the file that the manifest names; segment the image again")
    labels = tifffile.imread(sources["labels"]).astype(np.int32)
    if labels.shape != image.shape:
        raise ValueError(f"{sources['labels']} has {labels.shape} pixels, but the image has {image.shape}")
    return Segmentation(image, labels, objects(sources["objects"], labels), Prompts.load(sources["prompts"]), record)


def manifest(path: Path) -> dict[str, Any]:
    """Read a manifest that an edit can go on from."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in ("model", "arguments", "image", "prompts", "outputs") if key not in record]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; segment the image again")
    return record


def objects(table: Path, labels: np.ndarray) -> Masks:
    """Return the objects of a label image with what the table says of each, in order of their labels."""
    found = label_images.objects(labels)
    with table.open(newline="", encoding="utf-8") as file:
        rows = {int(row["label"]): row for row in csv.DictReader(file)}
    if rows.keys() != found.keys():
        raise ValueError(f"{table} and the label image name different objects; segment the image again")
    return Masks(
        tuple(found.values()),
        np.array(list(found), np.int64),
        np.array([rows[i]["score"] for i in found], np.float32),
        np.array([rows[i]["stability"] for i in found], np.float32),
        np.array([rows[i]["tile_border"] == "True" for i in found], np.bool_),
    )
