from __future__ import annotations

import csv
import json
import os
import tracemalloc

import numpy as np
import pytest
import zarr

from large_images import stack_of
from made_up import NullModel
from promptless import large, voxels
from promptless.config import Intensity
from promptless.image import Image
from promptless.io import ngff
from promptless.large import volumes
from promptless.pipeline import segment
from voxel_models import NullVoxelModel, Seeing, blocks

SPACING = (2.0, 0.5, 0.5)


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    monkeypatch.setitem(ngff.CHUNKS, 3, 6)


def volume(tmp_path, shape=(20, 24, 28)):
    """Return a z-stack of two blocks in a file, and as an image."""
    values = blocks(shape)[0].data[0]
    return stack_of(values, tmp_path / "a.ome.zarr"), Image(values[None], SPACING, "um")


def labels_in(out):
    return zarr.open_array(out / "labels" / "structures" / "0", mode="r")[:]


class Even(Seeing):
    """A model whose classes lie one standard deviation apart."""

    def logits(self, crops):
        return super().logits(100 * crops)


@pytest.mark.parametrize("model", [Seeing, Even])
def test_labels_are_those_of_the_whole_array(model, tmp_path):
    source, image = volume(tmp_path)
    told = {"intensity": Intensity("percentiles", low=1.0, high=99.0)} if model is Even else {}
    for crop in ((8, 8, 8), (9, 30, 7), (40, 40, 40)):
        options = {"crop": crop, "overlap": 0.4, **told}
        summary = large.segment_volume(source, tmp_path / "out.zarr", model(**options), begin="overwrite")
        expected = segment(image, model(**options))
        assert np.array_equal(labels_in(tmp_path / "out.zarr"), expected.labels)
        assert summary.n_objects == expected.n_objects
        assert len(np.unique(expected.labels)) > 1


def test_a_volume_that_is_resampled_has_the_labels_of_the_whole_array_but_for_ties(tmp_path):
    source, image = volume(tmp_path)
    model = NullVoxelModel(spacing=(0.0015, 0.0008, 0.0007), crop=(8, 8, 8))
    large.segment_volume(source, tmp_path / "out.zarr", model)
    result = segment(image, model, keep=("probabilities",))
    found, sure = labels_in(tmp_path / "out.zarr"), np.sort(result.probabilities, axis=0)
    assert ((found == result.labels) | (sure[-1] - sure[-2] < 2)).all()
    assert (found > 0).any()


def test_a_voxel_that_is_no_number_does_not_spread_where_a_volume_is_resampled(rng):
    values = rng.normal(50, 20, (12, 14, 16)).astype(np.float32)
    image = Image(values[None], (2.0, 1.5, 1.0), "mm")
    model = NullVoxelModel(spacing=(1.1, 1.1, 1.1))
    planned = voxels.plan(image, model.config)
    window = model.config.volume.intensity
    expected = voxels.read_in(values, planned, window, 0, planned.padded[0])
    values[0, 0, 0], values[5, 6, 7] = np.nan, -np.inf
    seen = voxels.read_in(values, planned, window, 0, planned.padded[0])
    assert np.isfinite(seen).all()
    assert 0.9 < (seen == expected).mean() < 1


def test_the_table_and_the_names_are_those_of_the_whole_array(tmp_path):
    yaozarrs = pytest.importorskip("yaozarrs")
    source, image = volume(tmp_path)
    large.segment_volume(source, tmp_path / "out.ome.zarr", NullVoxelModel())
    whole = segment(image, NullVoxelModel()).structures
    with (tmp_path / "out_volumes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(whole)
    for row, expected in zip(rows, whole.rows(), strict=True):
        for name, value in expected.items():
            told = row[name] if isinstance(value, str) else float(row[name] or "nan")
            assert told == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5, nan_ok=True))
    path = tmp_path / "out.ome.zarr" / "labels" / "structures"
    yaozarrs.validate_zarr_store(path)
    about = zarr.open_group(path, mode="r").attrs["ome"]
    assert [entry["class"] for entry in about["image-label"]["properties"]] == ["dim", "bright"]
    scales = [d["coordinateTransformations"][0]["scale"] for d in about["multiscales"][0]["datasets"]]
    assert scales[:2] == [list(SPACING), [2 * size for size in SPACING]]
    assert np.array_equal(zarr.open_array(path / "1", mode="r")[:], labels_in(tmp_path / "out.ome.zarr")[::2, ::2, ::2])
    record = json.loads((tmp_path / "out_manifest.json").read_text())
    assert (record["n_objects"], record["model"]["classes"]) == (2, ["dim", "bright"])


class Dying(Seeing):
    """A model that is interrupted after so many crops."""

    def __init__(self, crops, **volume):
        super().__init__(**volume)
        self.left = crops

    def logits(self, crops):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().logits(crops)


@pytest.mark.parametrize("crops", [1, 60, 150])
def test_a_run_that_is_resumed_gives_the_labels_of_one_that_is_not(crops, tmp_path):
    source, _ = volume(tmp_path, (48, 16, 20))
    options = {"crop": (5, 8, 8), "overlap": 0.3}
    whole = Seeing(**options)
    large.segment_volume(source, tmp_path / "whole.zarr", whole)
    with pytest.raises(KeyboardInterrupt):
        large.segment_volume(source, tmp_path / "out.zarr", Dying(crops, **options))
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(FileExistsError, match="unfinished; --resume goes on"):
        large.segment_volume(source, tmp_path / "out.zarr", Seeing(**options))
    with pytest.raises(FileExistsError, match="differs in: tile"):
        large.segment_volume(source, tmp_path / "out.zarr", Seeing(**options), begin="resume", tile=4)
    again = Seeing(**options)
    large.segment_volume(source, tmp_path / "out.zarr", again, begin="resume")
    assert np.array_equal(labels_in(tmp_path / "out.zarr"), labels_in(tmp_path / "whole.zarr"))
    assert (tmp_path / "out_volumes.csv").read_bytes() == (tmp_path / "whole_volumes.csv").read_bytes()
    done = Seeing(**options)
    large.segment_volume(source, tmp_path / "out.zarr", done, begin="resume")
    assert not done.asked  # nothing is left to do
    assert len(again.asked) <= len(whole.asked)
    assert crops < 150 or len(again.asked) < len(whole.asked) / 2


def test_memory_does_not_grow_with_the_depth(tmp_path, monkeypatch):
    monkeypatch.setitem(ngff.CHUNKS, 3, 16)
    peaks = []
    for depth in (30, 40, 200):
        source = stack_of(np.zeros((depth, 64, 64), np.int16), tmp_path / f"{depth}.ome.zarr")
        tracemalloc.start()
        large.segment_volume(source, tmp_path / f"{depth}.zarr", NullVoxelModel(crop=(16, 64, 64)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_what_is_no_volume_is_refused(tmp_path):
    values = np.zeros((1, 30, 30), np.uint8)
    source = stack_of(values, tmp_path / "plane.ome.zarr")
    with pytest.raises(ValueError, match="is one plane, and null_volume is for volumes"):
        large.segment_volume(source, tmp_path / "out.zarr", NullVoxelModel())
    source, _ = volume(tmp_path)
    with pytest.raises(ValueError, match="null is for planes; large"):
        large.segment_volume(source, tmp_path / "out.zarr", NullModel())
    with pytest.raises(ValueError, match="segment_volume is for it"):
        large.segment(source, tmp_path / "out.zarr", NullVoxelModel())
    assert not (tmp_path / "out.zarr").exists()


def test_a_size_of_voxels_that_is_not_known_is_asked_for(tmp_path):
    source, _ = volume(tmp_path)
    group = zarr.open_group(source, mode="r+")
    about = dict(group.attrs["ome"])
    for axis in about["multiscales"][0]["axes"]:
        axis.pop("unit", None)
    group.attrs["ome"] = about
    with pytest.raises(ValueError, match="does not say how large a voxel is along z, y and x"):
        large.segment_volume(source, tmp_path / "out.zarr", NullVoxelModel(spacing=(1.0, 1.0, 1.0)))
    large.segment_volume(source, tmp_path / "out.zarr", NullVoxelModel())


def test_planes_that_do_not_fit_in_memory_are_refused(tmp_path, monkeypatch):
    source, _ = volume(tmp_path)
    monkeypatch.setattr(volumes.memory, "free", lambda: 1000)
    with pytest.raises(ValueError, match=r"crops of 8 planes of 24 x 28 voxels take about .* GB are free; --tile N"):
        large.segment_volume(source, tmp_path / "out.zarr", NullVoxelModel())
    assert os.listdir(tmp_path) == ["a.ome.zarr"]
