from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import zarr

from large_images import stack_of
from made_up import NullModel, picture, same_partition, scattered
from promptless import large
from promptless.errors import UnreadableImageError
from promptless.io import labelled
from promptless.large import bench
from promptless.pipeline import segment

CUT = {"tile": 32, "halo": 16}


@pytest.fixture
def planes(rng):
    """Planes of discs (uint8), the third of them empty."""
    found = [picture(scattered((90, 75), (3, 6), 18, rng, gap=3)) for _ in range(4)]
    found[2][:] = 30
    return np.stack(found)


def labels_in(out):
    return zarr.open_array(out / "labels" / "nuclei" / "0", mode="r")[:]


def test_planes_of_a_stack_are_segmented_one_by_one(planes, tmp_path):
    source, out = stack_of(planes, tmp_path / "a.ome.zarr"), tmp_path / "out.ome.zarr"
    summary = large.segment(source, out, NullModel(), **CUT)
    found = labels_in(out)
    assert found.shape == planes.shape
    for plane, labels in zip(planes, found, strict=True):
        assert same_partition(labels, segment(plane, NullModel(), mpp=0.5).labels)
    assert not found[2].any()
    assert np.array_equal(np.unique(found[found > 0]), np.arange(1, summary.n_objects + 1))
    with (tmp_path / "out_objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:2] == ["label", "z"]
    for row in rows:
        box = tuple(slice(int(row[f"bbox-{i}"]), int(row[f"bbox-{i + 2}"])) for i in (0, 1))
        assert (found[int(row["z"])][box] == int(row["label"])).sum() == float(row["area"])
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert [f["geometry"]["plane"]["z"] for f in features] == [int(row["z"]) for row in rows]
    record = json.loads((tmp_path / "out_manifest.json").read_text())
    assert (record["image"]["planes"], record["tiles"]) == (4, summary.n_tiles)


@pytest.mark.parametrize("axes", ["xzy", "yxz", "tczyx"])
def test_axes_may_stand_in_any_order(axes, planes, tmp_path):
    large.segment(stack_of(planes, tmp_path / "a.zarr"), tmp_path / "whole.zarr", NullModel(), **CUT)
    turned = planes.transpose(["zyx".index(axis) for axis in axes if axis in "zyx"])
    source = stack_of(turned.reshape((1,) * (len(axes) - 3) + turned.shape), tmp_path / "b.zarr", axes)
    large.segment(source, tmp_path / "out.zarr", NullModel(), **CUT)
    assert np.array_equal(labels_in(tmp_path / "out.zarr"), labels_in(tmp_path / "whole.zarr"))


def test_a_plane_that_is_chosen_is_that_plane_of_the_stack(planes, tmp_path):
    source = stack_of(planes, tmp_path / "a.ome.zarr")
    large.segment(source, tmp_path / "all.zarr", NullModel(), **CUT)
    large.segment(source, tmp_path / "one.zarr", NullModel(), page=3, **CUT)
    assert same_partition(labels_in(tmp_path / "one.zarr"), labels_in(tmp_path / "all.zarr")[3])


def test_labels_of_a_stack_are_ome_zarr_whose_planes_stay_apart(planes, tmp_path):
    yaozarrs = pytest.importorskip("yaozarrs")
    large_planes = np.pad(planes, ((0, 0), (0, 1000), (0, 0)), mode="symmetric")
    source, out = stack_of(large_planes, tmp_path / "a.ome.zarr"), tmp_path / "out.ome.zarr"
    large.segment(source, out, NullModel())
    path = out / "labels" / "nuclei"
    yaozarrs.validate_zarr_store(path)
    found = labels_in(out)
    assert np.array_equal(zarr.open_array(path / "1", mode="r")[:], found[:, ::2, ::2])
    about = zarr.open_group(path, mode="r").attrs["ome"]["multiscales"][0]
    scales = [d["coordinateTransformations"][0]["scale"] for d in about["datasets"]]
    assert scales == [[2.0, 0.5, 0.5], [2.0, 1.0, 1.0]]
    known = labelled.opened(out)
    assert known.spacing == (2.0, 0.5, 0.5)
    assert np.array_equal(known.labels[:], found)


@pytest.mark.parametrize("step", ["found", "settled", "told", "drawn"])
def test_a_stack_is_resumed_as_if_nothing_had_happened(planes, step, tmp_path, monkeypatch):
    source = stack_of(planes, tmp_path / "a.ome.zarr")
    large.segment(source, tmp_path / "whole.zarr", NullModel(), **CUT)

    def stop(at, done, total):
        if at == step and 2 * done >= total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        large.segment(source, tmp_path / "out.zarr", NullModel(), progress=stop, **CUT)
    large.segment(source, tmp_path / "out.zarr", NullModel(), begin="resume", **CUT)
    for end in (".geojson", "_objects.csv", "_prompts.json"):
        assert (tmp_path / f"out{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()
    assert np.array_equal(labels_in(tmp_path / "out.zarr"), labels_in(tmp_path / "whole.zarr"))


def test_the_place_of_a_tile_that_failed_says_the_plane(planes, tmp_path, monkeypatch):
    step = bench.STEPS["found"]

    def failing(at, number):
        if number == 10:
            raise ValueError("a damaged chunk")
        return step(at, number)

    monkeypatch.setitem(bench.STEPS, "found", failing)
    source = stack_of(planes, tmp_path / "a.ome.zarr")
    summary = large.segment(source, tmp_path / "out.zarr", NullModel(), **CUT)
    assert [f.region for f in summary.failures] == [((1, 2), (0, 32), (32, 64))]


def test_the_level_that_is_read_and_a_region_are_those_of_every_plane(rng, tmp_path):
    labels = np.stack([scattered((120, 120), (10, 12), 6, rng, gap=6) for _ in range(2)])
    source = stack_of(picture(labels), tmp_path / "a.ome.zarr", steps=(1, 2))
    large.segment(source, tmp_path / "out.zarr", NullModel(), mpp=0.25, roi=(0, 0, 60, 120), **CUT)
    found = labels_in(tmp_path / "out.zarr")
    assert found.shape == (2, 60, 60)
    assert found[:, :30].any(axis=(1, 2)).all()
    assert not found[:, 45:].any()


def test_what_is_no_stack_of_planes_is_refused(planes, tmp_path):
    source = stack_of(planes[None].repeat(2, axis=0), tmp_path / "t.ome.zarr", "tzyx")
    with pytest.raises(UnreadableImageError, match=r"T=2, Z=4.*one plane is read: choose one with --page 0 to 7"):
        large.segment(source, tmp_path / "out.zarr", NullModel())
    source = stack_of(planes, tmp_path / "z.ome.zarr")
    with pytest.raises(ValueError, match="has 4 planes along z; leave --tissue out, or choose a plane with --page"):
        large.segment(source, tmp_path / "out.zarr", NullModel(), only="tissue")
