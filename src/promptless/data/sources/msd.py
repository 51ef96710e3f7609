"""A task of the Medical Segmentation Decathlon (Antonelli et al. 2022): `imagesTr`, `labelsTr` and `dataset.json`.

An image of several channels is a file of four axes. The labels of `imagesTs` are held back; no part is official.
"""

from __future__ import annotations

from pathlib import Path

from promptless.data import scans
from promptless.data.source import Source
from promptless.data.volumes import Original
from promptless.io.pairs import by_name, stem


def read(folder: Path, *, channel: str | None = None) -> Source[Original]:
    """Find the labelled scans; `channel` (a number or a name) is the one to take of several."""
    home, known = scans.described(folder, "Task04_Hippocampus")
    images, labels = (by_name(scans.nifti_in(home / name), stem) for name in ("imagesTr", "labelsTr"))
    names = scans.channels(known)
    number = scans.chosen(home, names, channel) if names or channel is not None else 0
    unpaired = scans.missing(scans.listed(known, "training"), images.keys() | labels.keys())
    facts = scans.facts(home, known, "msd")
    return scans.source(facts, images, labels, {}, frame=number if len(names) > 1 else None, unpaired=unpaired)
