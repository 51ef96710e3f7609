"""BTCV (Landman et al. 2015, multi-atlas labelling beyond the cranial vault): abdominal CT with 13 organs.

`img/imgNNNN.nii.gz` with `label/labelNNNN.nii.gz`, as `Abdomen/RawData/Training` has them. The labels of
`Testing` were not published, so its images are passed over, and the publisher names no part of the others.
"""

from __future__ import annotations

import re
from pathlib import Path

from promptless.data import scans
from promptless.data.prepared import Facts
from promptless.data.source import Source, files
from promptless.data.volumes import Original
from promptless.io.pairs import by_name, stem

ORGANS = (
    *("spleen", "kidney_right", "kidney_left", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("inferior_vena_cava", "portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right", "adrenal_gland_left"),
)
FACTS = Facts(
    "btcv",
    "terms of use of Synapse syn3193805",
    "https://www.synapse.org/Synapse:syn3193805",
    dict(enumerate(ORGANS, start=1)),
)
HELD_BACK = "testing"


def read(folder: Path) -> Source[Original]:
    """Find images and labels of the same number."""
    images, labels = (
        by_name(
            (p for p in files(folder, ".nii", ".gz") if re.fullmatch(rf"{kind}\d{{4}}", stem(p)) and usable(p, folder)),
            lambda path: f"img{stem(path)[-4:]}",
        )
        for kind in ("img", "label")
    )
    return scans.source(FACTS, images, labels, {})


def usable(path: Path, folder: Path) -> bool:
    """Return whether labels of an image were published."""
    return HELD_BACK not in (part.lower() for part in path.relative_to(folder.parent).parts)
