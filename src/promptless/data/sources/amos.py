"""AMOS 2022 (Ji et al. 2022): abdominal CT and MR with 15 organs, in `imagesTr`, `labelsTr`, `imagesVa`, `labelsVa`.

Scans with numbers below 500 are CT. The labels of `imagesTs` are held back, so the validation scans are test here, as
those who publish figures on AMOS use them; dev is drawn from the training scans.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from promptless.data import scans
from promptless.data.prepared import Facts
from promptless.data.source import Source
from promptless.data.volumes import Original
from promptless.io.pairs import by_name, stem

ORGANS = (
    *("spleen", "kidney_right", "kidney_left", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("inferior_vena_cava", "pancreas", "adrenal_gland_right", "adrenal_gland_left", "duodenum", "urinary_bladder"),
    "prostate_or_uterus",
)
FACTS = Facts("amos", "unknown", "https://amos22.grand-challenge.org", dict(enumerate(ORGANS, start=1)))
MODALITIES = {"ct": range(500), "mr": range(500, 10_000), "all": range(10_000)}
"""The numbers of the scans of each modality."""
PARTS = ("Tr", "Va")


def read(folder: Path, *, modality: str = "ct") -> Source[Original]:
    """Find the scans of a modality: "ct", "mr" or "all" of them."""
    if modality not in MODALITIES:
        raise ValueError(f"{modality!r} is no modality of AMOS; there are {', '.join(MODALITIES)}")
    wanted = MODALITIES[modality]
    home, known = scans.described(folder, "amos22, with dataset.json, imagesTr and labelsTr")
    images, labels = (
        by_name(
            (path for part in PARTS for path in scans.nifti_in(home / f"{kind}{part}") if number(path) in wanted), stem
        )
        for kind in ("images", "labels")
    )
    official = {stem(path): "test" for path in scans.nifti_in(home / "imagesVa")}
    listed = (name for name in scans.listed(known, "training", "validation") if number(Path(name)) in wanted)
    unpaired = scans.missing(listed, images.keys() | labels.keys())
    facts = replace(FACTS, licence=str(known.get("licence") or FACTS.licence))
    return scans.source(facts, images, labels, official, unpaired=unpaired)


def number(path: Path) -> int:
    """Return the number of a scan, amos_NNNN."""
    digits = stem(path).rpartition("_")[2]
    if not digits.isdecimal():
        raise ValueError(f"{path} is not called amos_NNNN; the number tells CT from MR")
    return int(digits)
