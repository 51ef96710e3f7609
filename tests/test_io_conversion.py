"""Labels converted there and back are the same, whatever the format between."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from made_up import ClassModel, NullModel, bright_and_dim, scattered
from promptless.io import conversion, label_files, labelled, labels, ngff
from promptless.io.conversion import FORMATS
from promptless.pipeline import segment

BACK = ("labels", "ome-tiff", "ome-zarr", "png", "npy", "geojson", "roi", "coco")
"""Formats that give the pixels back."""
LABELS = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1, 2, 300]))


def converted(found, folder, kind, name="a"):
    """Return the file of labels (an array or `Labelled`) in a format."""
    known = found if isinstance(found, labelled.Labelled) else labelled.Labelled(found)
    path = folder / f"{name}{FORMATS[kind].suffix}"
    conversion.save(known, folder / "source", {kind: path})
    return path


@pytest.mark.parametrize("kind", BACK)
def test_labels_come_back(kind, tmp_path_factory):
    @settings(max_examples=12)
    @given(LABELS)
    def law(found):
        path = converted(found, tmp_path_factory.mktemp("there"), kind)
        assert np.array_equal(labelled.read(path, found.shape).labels, found)

    law()


@pytest.mark.parametrize("kind", ["labels", "ome-zarr", "npy"])
def test_volumes_come_back(kind, rng, tmp_path):
    found = rng.integers(0, 70_000, (3, 20, 17)).astype(np.int32)
    assert np.array_equal(labelled.read(converted(found, tmp_path, kind)).labels, found)


@pytest.mark.parametrize("kind", [kind for kind, known in FORMATS.items() if known.planar])
def test_a_volume_is_not_written_as_what_holds_a_plane(kind, tmp_path):
    with pytest.raises(ValueError, match=f"source has 3 axes .* and {kind} hold a plane"):
        converted(np.ones((2, 3, 4), np.uint8), tmp_path, kind)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def in_pieces(monkeypatch):
    """Images of more than 500 pixels are large, and read in blocks of 32 pixels."""
    monkeypatch.setattr(labelled, "WHOLE", 500)
    monkeypatch.setattr(conversion, "WHOLE", 500)
    monkeypatch.setattr(ngff, "CHUNKS", {2: 16, 3: 16})


@pytest.mark.parametrize("kind", BACK)
def test_labels_of_a_large_image_come_back(kind, in_pieces, tmp_path, rng):
    found = scattered((90, 75), (3, 9), 25, rng, gap=1)
    found[40:43, 2:70] = 99  # across many blocks
    path = converted(found, tmp_path, kind)
    read = labelled.opened(path, found.shape)
    assert np.array_equal(read.labels[:], found)
    assert np.array_equal(read.labels[33:60, 8:40], found[33:60, 8:40])


@pytest.mark.parametrize("kind", ["objects", "parquet", "geojson", "roi", "coco"])
def test_a_large_image_has_the_objects_of_a_small_one(kind, tmp_path, rng, request):
    found = labelled.Labelled(scattered((90, 75), (3, 9), 25, rng, gap=1), spacing=(0.5, 0.5))
    whole = converted(found, tmp_path, kind, "whole")
    request.getfixturevalue("in_pieces")
    pieces = converted(found, tmp_path, kind, "pieces")
    assert entries(kind, pieces) == entries(kind, whole)


def entries(kind, path):
    """Return what a file says of each object, by label."""
    if kind == "parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
        return {row["label"]: [f"{name} {value:.9g}" for name, value in row.items()] for row in rows}
    if kind == "roi":
        import zipfile

        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    if kind == "objects":
        header, *lines = path.read_text().splitlines()
        return {line.split(",")[0]: (header, line) for line in lines}
    content = json.loads(path.read_text())
    if kind == "coco":
        return {entry["id"]: entry for entry in content["annotations"]}
    return {entry["properties"]["name"]: entry for entry in content["features"]}


@pytest.mark.parametrize("kind", ["ome-zarr", "coco", "geojson", "roi"])
def test_nothing_is_lost_on_the_way_between_two_formats(kind, tmp_path, rng):
    """Label image -> format -> every other that gives pixels back."""
    found = scattered((40, 50), (3, 7), 8, rng, gap=1)
    source = converted(found, tmp_path, kind)
    for other in BACK:
        path = converted(labelled.opened(source, found.shape), tmp_path, other, "b")
        assert np.array_equal(labelled.read(path, found.shape).labels, found), other


def test_a_pyramid_is_tiled_sized_and_halved(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(ngff, "CHUNKS", {2: 32, 3: 32})
    found = labelled.Labelled(scattered((130, 90), (3, 9), 30, rng, gap=1) * 3000, spacing=(0.25, 0.5))
    path = converted(found, tmp_path, "ome-tiff")
    with tifffile.TiffFile(path) as file:
        assert (file.is_bigtiff, file.is_ome) == (True, True)
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(130, 90), (65, 45), (33, 23), (17, 12)]
        for number, level in enumerate(levels):
            assert level.keyframe.is_tiled
            assert level.dtype == np.uint32
            step = 2**number
            assert np.array_equal(level.asarray(), found.labels[::step, ::step])
    assert labelled.opened(path).spacing == (0.25, 0.5)
    assert labelled.opened(converted(labelled.opened(path), tmp_path, "ome-zarr")).spacing == (0.25, 0.5)


def test_what_is_known_of_objects_goes_along(tmp_path):
    image, expected, _ = bright_and_dim()
    result = segment(image, ClassModel(), mpp=0.5)
    source = result.save(tmp_path, "a")["labels"]
    known = labelled.opened(source)
    assert known.spacing == (0.5, 0.5)
    for kind in ("coco", "geojson"):
        path = converted(known, tmp_path, kind, "b")
        there = labelled.read(path, expected.shape)
        assert there.masks.scores == pytest.approx(result.masks.scores, abs=1e-4)
        assert called(there) == called(result)


def called(found):
    """Return the name of each object's class."""
    return [found.class_names[value - 1].lower() for value in found.masks.classes]


def test_scores_of_a_store_hold_for_objects_that_are_as_they_were(blobs, tmp_path):
    zarr = pytest.importorskip("zarr")
    large = pytest.importorskip("promptless.large")
    tifffile.imwrite(tmp_path / "a.tif", blobs[0])
    large.segment(tmp_path / "a.tif", tmp_path / "out.ome.zarr", NullModel())
    before = labelled.read(tmp_path / "out.ome.zarr")
    assert before.masks.scores == pytest.approx(0.9)
    stored = zarr.open_array(tmp_path / "out.ome.zarr" / "labels" / "nuclei" / "0", mode="r+")
    pixels = stored[:]
    pixels[tuple(np.argwhere(pixels == 2)[0])] = 0
    stored[:] = pixels
    after = labelled.read(tmp_path / "out.ome.zarr")
    assert np.flatnonzero(np.isnan(after.masks.scores)).tolist() == [1]
    outlines = labelled.read(tmp_path / "out.geojson")
    assert np.array_equal(outlines.labels, before.labels)


def test_outlines_of_a_level_are_in_pixels_of_the_full_image(tmp_path):
    found = np.zeros((20, 30), np.int32)
    found[4:8, 10:16] = 5
    path = converted(labelled.Labelled(found, pitch=(2.0, 2.0)), tmp_path, "geojson")
    assert np.array_equal(labelled.read(path, (40, 60)).labels, found.repeat(2, 0).repeat(2, 1))


def test_overlapping_outlines_are_told(tmp_path):
    square = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}
    other = {"type": "Polygon", "coordinates": [[[3, 3], [6, 3], [6, 6], [3, 6], [3, 3]]]}
    features = [{"type": "Feature", "geometry": part, "properties": {}} for part in (square, other)]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    known = labelled.opened(tmp_path / "a.geojson", (8, 8))
    assert known.notes == ("1 objects overlap others: each pixel is kept by the last of them",)
    assert known.labels[3:4, 3:4].tolist() == [[2]]


def test_compressed_outlines_are_the_same_bytes_each_time(tmp_path, rng):
    found = labelled.Labelled(scattered((40, 50), (3, 7), 8, rng))
    paths = [tmp_path / name / "a.geojson.gz" for name in "xy"]
    for path in paths:
        path.parent.mkdir()
        conversion.save(found, path, {"geojson": path})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert np.array_equal(labelled.read(paths[0], (40, 50)).labels, found.labels)


def test_annotations_of_others_are_read(tmp_path, rng):
    mask_utils = pytest.importorskip("pycocotools.mask")
    found = scattered((40, 50), (3, 7), 8, rng, gap=1)
    entries = []
    for number in range(1, found.max() + 1):
        rle = mask_utils.encode(np.asfortranarray(found == number).astype(np.uint8))
        compressed = {"size": rle["size"], "counts": rle["counts"].decode()}
        entries.append({"id": number, "image_id": 1, "category_id": 7, "segmentation": compressed})
    entries.append({"id": 90, "image_id": 1, "category_id": 3, "segmentation": [[44, 34, 48, 34, 48, 38, 44, 38]]})
    content = {"images": [{"id": 1, "height": 40, "width": 50}], "annotations": entries}
    content["categories"] = [{"id": 7, "name": "cell"}, {"id": 3, "name": "debris"}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = labelled.read(tmp_path / "a.json")
    found[34:38, 44:48] = 90
    assert np.array_equal(read.labels, found)
    assert read.class_names == ("debris", "cell")
    assert set(read.masks.classes[:-1]) == {2}
    assert read.masks.classes[-1] == 1
    content["images"] *= 2
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="it is of 2 images"):
        labelled.read(tmp_path / "a.json")


def test_rois_of_others_are_read(tmp_path):
    roifile = pytest.importorskip("roifile")
    box = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=3, top=2, right=8, bottom=6, name="0001-0001")
    line = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.LINE, x1=0, y1=0, x2=9, y2=9, name="line")
    roifile.roiwrite(tmp_path / "a.zip", [box, line])
    expected = np.zeros((10, 12), np.int32)
    expected[2:6, 3:8] = 1
    assert np.array_equal(labelled.read(tmp_path / "a.zip", (10, 12)).labels, expected)
    with pytest.raises(ValueError, match="1 ROIs outside an image of 2 x 2"):
        labelled.read(tmp_path / "a.zip", (2, 2))


def test_a_store_of_several_label_images_says_which(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = converted(np.ones((4, 4), np.uint8), tmp_path, "ome-zarr")
    group = zarr.open_group(path / "labels", mode="r+")
    group.create_array("other", data=np.zeros((4, 4), np.uint8))
    with pytest.raises(label_files.UnreadableLabelsError, match="the label images objects, other; name one"):
        labelled.read(path)
    assert labelled.read(path / "labels" / "other").labels.max() == 0


def test_labels_beyond_a_format_are_refused(tmp_path):
    with pytest.raises(ValueError, match="PNG holds labels up to 65535, but there is 70000; write TIFF"):
        converted(np.full((3, 3), 70_000), tmp_path, "png")
    with pytest.raises(ValueError, match="labels are whole numbers from 0 to 2147483647, but these are -1 to 0"):
        converted(np.full((3, 3), -1), tmp_path, "ome-tiff")
    assert labels.smallest_type(np.full((3, 3), 70_000)) == np.uint32
