from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from made_up import NullModel
from promptless.image import Image
from promptless.io import outputs
from promptless.io.hashes import sha256
from promptless.pipeline import segment
from promptless.prompts import Prompts

KINDS = ["labels", "objects", "prompts", "geojson", "overlay", "manifest"]


@pytest.fixture
def result(blobs):
    return segment(blobs[0], NullModel())


def save(segmentation, folder, name, **wanted):
    return outputs.save(segmentation, folder, name, outputs.wanted(**wanted))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_every_output_is_written(result, tmp_path):
    paths = save(result, tmp_path, "slide.1")
    assert list(paths) == KINDS
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "slide.1.geojson",
        "slide.1_labels.tif",
        "slide.1_manifest.json",
        "slide.1_objects.csv",
        "slide.1_overlay.png",
        "slide.1_prompts.json",
    ]


def test_the_label_image_is_uint16_and_zlib(result, tmp_path):
    path = save(result, tmp_path, "a")["labels"]
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert (page.dtype, page.compression.name) == (np.uint16, "ADOBE_DEFLATE")
        assert np.array_equal(page.asarray(), result.labels)


def test_more_objects_than_uint16_holds_are_written_as_uint32(result, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.labels, "LARGEST_UINT16", 5)
    path = save(result, tmp_path, "a")["labels"]
    assert tifffile.imread(path).dtype == np.uint32
    assert np.array_equal(tifffile.imread(path), result.labels)


def test_the_pixel_size_is_in_the_label_image(blobs, tmp_path):
    result = segment(Image(blobs[0][None], (0.5, 0.4)), NullModel())
    path = save(result, tmp_path, "a")["labels"]
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        per_cm = [n / d for n, d in (tags[name].value for name in ("YResolution", "XResolution"))]
        assert per_cm == pytest.approx([20_000, 25_000])
        assert tags["ResolutionUnit"].value == 3


def test_the_table_has_a_row_per_object(result, tmp_path):
    header, *body = rows(save(result, tmp_path, "a")["objects"])
    assert {"label", "area", "bbox-0", "centroid-0", "mean_intensity-0", "score", "stability", "tile_border"} <= set(
        header
    )
    assert [row[header.index("label")] for row in body] == [str(i) for i in range(1, 10)]
    assert [float(row[header.index("area")]) for row in body] == np.bincount(result.labels.ravel())[1:].tolist()
    assert not [name for name in header if "um" in name]


def test_the_table_is_in_micrometres_too_when_the_pixel_size_is_known(blobs, tmp_path):
    result = segment(blobs[0], NullModel(), mpp=0.5)
    header, *body = rows(save(result, tmp_path, "a")["objects"])
    area, physical = (header.index(name) for name in ("area", "area_um2"))
    assert all(float(row[physical]) == pytest.approx(float(row[area]) / 4) for row in body)
    assert {"perimeter_um", "equivalent_diameter_um", "centroid_um-0"} <= set(header)


def test_the_prompts_can_be_read_back(result, tmp_path):
    loaded = Prompts.load(save(result, tmp_path, "a")["prompts"])
    assert [p.id for p in loaded.items] == list(range(1, 10))
    assert all(
        np.array_equal(a.coarse.pixels, b.coarse.pixels)
        for a, b in zip(loaded.items, result.prompts.items, strict=True)
    )


def test_the_other_files_are_what_they_say(result, tmp_path):
    paths = save(result, tmp_path, "a")
    assert len(json.loads(paths["geojson"].read_text())["features"]) == 9
    others = {kind: path for kind, path in paths.items() if kind != "manifest"}
    listing = {kind: {"file": path.name, "sha256": sha256(path)} for kind, path in others.items()}
    assert json.loads(paths["manifest"].read_text()) == {**result.manifest, "outputs": listing}
    with PillowImage.open(paths["overlay"]) as picture:
        assert picture.mode == "RGB"


def test_no_objects_give_a_header_and_an_empty_label_image(tmp_path, result):
    empty = segment(np.zeros((20, 30), np.uint8), NullModel())
    paths = save(empty, tmp_path, "a")
    assert rows(paths["objects"]) == [rows(save(result, tmp_path, "b")["objects"])[0]]
    assert not tifffile.imread(paths["labels"]).any()
    assert len(Prompts.load(paths["prompts"])) == 0


@pytest.mark.parametrize("kind", outputs.WRITERS)
def test_a_writer_that_fails_changes_nothing(result, tmp_path, kind):
    def half(segmentation, path):
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    wanted = outputs.wanted(also=outputs.ON_REQUEST)
    wanted[kind] = replace(wanted[kind], write=half)
    with pytest.raises(OSError, match="disk is full"):
        outputs.save(result, tmp_path, "a", wanted)
    assert not list(tmp_path.iterdir())
    save(result, tmp_path, "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="disk is full"):
        outputs.save(result, tmp_path, "a", wanted)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_outputs_that_are_not_written_again_do_not_stay_behind(result, tmp_path):
    save(result, tmp_path, "a", also=["coco"])
    (tmp_path / "a_mine.txt").write_text("mine")
    paths = save(result, tmp_path, "a")
    assert set(tmp_path.iterdir()) == {*paths.values(), tmp_path / "a_mine.txt"}


def test_a_damaged_manifest_is_replaced(result, tmp_path):
    (tmp_path / "a_manifest.json").write_text("{")
    assert json.loads(save(result, tmp_path, "a")["manifest"].read_text())["outputs"]


def test_what_a_killed_process_left_is_cleared_away(result, tmp_path):
    left = tmp_path / ".a.staging-123"
    left.mkdir()
    (left / "a_labels.tif").write_bytes(b"half")
    paths = save(result, tmp_path, "a")
    assert set(tmp_path.iterdir()) == set(paths.values())


def test_saving_the_same_twice_gives_the_same_bytes(result, tmp_path):
    one, other = (save(result, tmp_path / name, "a", also=outputs.ON_REQUEST) for name in ("x", "y"))
    assert all(one[kind].read_bytes() == other[kind].read_bytes() for kind in outputs.WRITERS)


def test_more_outputs_are_written_on_request_and_the_manifest_names_them(result, tmp_path):
    paths = result.save(tmp_path, "a", also=["parquet", "classes", "roi", "coco"])
    assert list(paths) == [*KINDS[:-1], "roi", "coco", "classes", "parquet", "manifest"]
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in paths.values()}
    assert {"a_rois.zip", "a_coco.json", "a_classes.tif", "a_objects.parquet"} <= {p.name for p in tmp_path.iterdir()}
    assert [*json.loads(paths["manifest"].read_text())["outputs"], "manifest"] == list(paths)


def test_the_overlay_can_draw_the_prompts(result, tmp_path):
    plain, marked = (
        np.asarray(PillowImage.open(result.save(tmp_path / style, overlay=style)["overlay"]))
        for style in ("outlines", "prompts")
    )
    assert plain.shape == marked.shape
    assert (plain != marked).any()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"also": ["svg"]}, "no output 'svg'; there are roi, coco, classes, parquet"),
        ({"overlay": "boxes"}, "no overlay 'boxes'; there are outlines, prompts"),
    ],
)
def test_an_unknown_kind_lists_the_known_ones(result, tmp_path, wanted, message):
    with pytest.raises(ValueError, match=message):
        result.save(tmp_path, **wanted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "package"), [("roi", "roifile"), ("parquet", "pyarrow")])
def test_a_missing_package_is_named_before_anything_is_written(result, tmp_path, monkeypatch, kind, package):
    monkeypatch.setattr(outputs, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"{kind} needs {package}: pip install 'promptless\[formats\]'"):
        result.save(tmp_path, also=[kind])
    assert not list(tmp_path.iterdir())
