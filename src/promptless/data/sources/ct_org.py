"""CT-ORG (Rister et al. 2020, CC BY 3.0): 140 CT scans with six organs, `volume-N.nii.gz` and `labels-N.nii.gz`.

The first 21 scans, labelled by hand throughout, are the official test set.
"""

from __future__ import annotations

import re
from pathlib import Path

from promptless.data import scans
from promptless.data.prepared import Facts
from promptless.data.source import Source, files
from promptless.data.volumes import Original
from promptless.io.pairs import by_name, stem

ORGANS = ("liver", "urinary_bladder", "lungs", "kidneys", "bones", "brain")
FACTS = Facts(
    "ct_org",
    "CC BY 3.0",
    "https://www.cancerimagingarchive.net/collection/ct-org",
    dict(enumerate(ORGANS, start=1)),
)
N_TEST = 21


def read(folder: Path) -> Source[Original]:
    """Find volumes and labels of the same number."""
    images, labels = (
        by_name(
            (path for path in files(folder, ".nii", ".gz") if re.fullmatch(rf"{kind}-\d+", stem(path))),
            lambda path: f"volume-{number(path)}",
        )
        for kind in ("volume", "labels")
    )
    official = {name: "test" for name, path in images.items() if number(path) < N_TEST}
    return scans.source(FACTS, images, labels, official)


def number(path: Path) -> int:
    """Return the number of a scan."""
    return int(stem(path).rpartition("-")[2])
