from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage

from large_images import labels_of
from made_up import NullModel, discs, picture, same_partition, scattered
from promptless import large, pipeline
from promptless.io import geojson
from promptless.io.atomic import claimed
from promptless.labels import objects
from promptless.large import bench, memory, tissue
from promptless.large.finding import Look, find
from promptless.large.plan import fingerprint, region, values
from promptless.normalise import intensity_range
from promptless.pipeline import segment
from promptless.prompts import Prompts
from promptless.record import Steps
from promptless.tiles import tiles
from promptless.view import View

CUT = {"tile": 32, "halo": 16}


@pytest.fixture
def image(rng):
    return picture(scattered((100, 90), (3, 6), 30, rng, gap=3))


def test_tables_speak_of_the_objects_in_the_labels(image, tmp_path):
    found, summary = labels_of(image, tmp_path, mpp=0.5, **CUT)
    assert np.array_equal(geojson.read(tmp_path / "out.geojson", image.shape), found)
    prompts = Prompts.load(tmp_path / "out_prompts.json")
    assert [p.id for p in prompts.items] == list(range(1, summary.n_objects + 1))
    whole = segment(image, NullModel(), mpp=0.5)
    assert same_partition(found, whole.labels)
    lines = (tmp_path / "out_objects.csv").read_text().splitlines()
    assert lines[0].split(",") == list(whole.objects)
    rows = {tuple(line.split(",")[2:]) for line in lines[1:]}  # but the numbers
    whole.save(tmp_path, "whole")
    assert rows == {
        tuple(line.split(",")[2:]) for line in (tmp_path / "whole_objects.csv").read_text().splitlines()[1:]
    }
    record = json.loads((tmp_path / "out_manifest.json").read_text())
    assert (record["n_objects"], record["failed"]) == (summary.n_objects, [])


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_labels_are_ome_zarr_by_an_independent_reading(version, tmp_path):
    yaozarrs = pytest.importorskip("yaozarrs")
    labels = discs((1300, 1100), [(40, 50, 9), (1200, 1030, 30)])
    found, _ = labels_of(picture(labels), tmp_path, version=version, mpp=0.5, tile=2048, halo=0)
    path = tmp_path / "out.ome.zarr" / "labels" / "nuclei"
    yaozarrs.validate_zarr_store(path)
    if version == "0.5":  # it knows no groups of labels of 0.4
        yaozarrs.validate_zarr_store(path.parent)
    assert found.max() == 2
    assert np.array_equal(zarr.open_array(path / "1", mode="r")[:], found[::2, ::2])
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    about = attributes.get("ome", attributes)
    assert [d["coordinateTransformations"][0]["scale"] for d in about["multiscales"][0]["datasets"]] == [
        [0.5] * 2,
        [1.0] * 2,
    ]
    assert about["image-label"]["version"] == version


def test_an_image_without_objects_has_empty_tables(tmp_path):
    found, summary = labels_of(np.zeros((50, 60), np.uint8), tmp_path)
    assert (summary.n_objects, found.any()) == (0, np.False_)
    assert len((tmp_path / "out_objects.csv").read_text().splitlines()) == 1
    assert len(Prompts.load(tmp_path / "out_prompts.json")) == 0
    assert json.loads((tmp_path / "out.geojson").read_text())["features"] == []


def test_a_failing_tile_is_isolated_told_and_tried_again(image, tmp_path, monkeypatch):
    whole, _ = labels_of(image, tmp_path, "whole", **CUT)
    step, calls = bench.STEPS["found"], []

    def failing(at, number):
        calls.append(number)
        if number == 4:
            raise ValueError("a damaged chunk")
        return step(at, number)

    monkeypatch.setitem(bench.STEPS, "found", failing)
    found, summary = labels_of(image, tmp_path, **CUT)
    assert calls.count(4) == 2
    assert [(f.number, f.message) for f in summary.failures] == [(4, "a damaged chunk")]
    (y0, y1), (x0, x1) = summary.failures[0].region
    middles = [mask.reference for mask in objects(whole).values()]
    assert found.max() == sum(not (y0 <= y < y1 and x0 <= x < x1) for y, x in middles) < whole.max()
    assert json.loads((tmp_path / "out_manifest.json").read_text())["failed"][0]["message"] == "a damaged chunk"
    monkeypatch.setitem(bench.STEPS, "found", step)
    again, summary = labels_of(image, tmp_path, begin="resume", **CUT)
    assert np.array_equal(again, whole)
    assert not summary.failures


def test_where_every_tile_fails_the_run_fails(image, tmp_path, monkeypatch):
    def failing(at, number):
        raise ValueError("no luck")

    monkeypatch.setitem(bench.STEPS, "found", failing)
    with pytest.raises(ValueError, match="every tile failed, the first of them since no luck"):
        labels_of(image, tmp_path, **CUT)


def test_a_full_disk_stops_the_run_which_can_be_resumed(image, tmp_path, monkeypatch):
    whole, _ = labels_of(image, tmp_path, "whole", **CUT)
    settle = bench.settle

    def full(tile, *found):
        if tile == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return settle(tile, *found)

    monkeypatch.setattr(bench, "settle", full)
    with pytest.raises(OSError, match="No space left"):
        labels_of(image, tmp_path, **CUT)
    assert not (tmp_path / "out.ome.zarr").exists()
    monkeypatch.setattr(bench, "settle", settle)
    assert np.array_equal(labels_of(image, tmp_path, begin="resume", **CUT)[0], whole)


def test_outputs_of_others_are_left_alone(image, tmp_path):
    def stop(step, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labels_of(image, tmp_path, progress=stop, **CUT)
    with pytest.raises(FileExistsError, match=r"unfinished; --resume goes on, --overwrite begins anew"):
        labels_of(image, tmp_path, **CUT)
    with pytest.raises(FileExistsError, match="differs in: min_score, halo"):
        labels_of(image, tmp_path, begin="resume", tile=32, halo=32, min_score=0.1)
    with claimed(tmp_path / ".out.ome.zarr.parts"), pytest.raises(FileExistsError, match="another run is writing"):
        labels_of(image, tmp_path, begin="resume", **CUT)
    tifffile.imwrite(tmp_path / "image.tif", image[::-1])
    with pytest.raises(FileExistsError, match="differs in: image"):
        labels_of(image, tmp_path, begin="resume", **CUT)
    _, first = labels_of(image, tmp_path, begin="overwrite", **CUT)
    with pytest.raises(FileExistsError, match="is there and finished"):
        labels_of(image, tmp_path, **CUT)
    _, again = labels_of(image, tmp_path, begin="resume", progress=stop, **CUT)  # nothing is left to do
    assert (again.n_objects, again.n_tiles) == (first.n_objects, first.n_tiles)
    assert not list(tmp_path.glob(".*"))


class Small(NullModel):
    """A model that takes no more than so many pixels at once."""

    def encode(self, image):
        if image.shape[1] * image.shape[2] > 80 * 80:
            raise MemoryError
        return super().encode(image)


def test_a_tile_that_does_not_fit_in_memory_is_cut_and_said(image, tmp_path, caplog):
    whole, _ = labels_of(image, tmp_path, "whole")
    found, summary = labels_of(image, tmp_path, "out", Small(), tile=96, halo=16)
    assert summary.n_tiles == 1
    assert same_partition(found, whole)
    assert "out of memory at 0-100 x 0-90" in caplog.text


def test_parts_of_a_tile_own_what_it_owns(image):
    model = NullModel()
    view = View.of(segment(image, model).image, model)
    look = Look.of(view, model, 48, 16, 0.5, Steps())
    for tile in tiles(view.image.shape, (48, 48), (16, 16), 16):
        parts = large.finding.quarters(look, tile)
        one = {(m.start, m.stop) for m in find(look, tile).masks}
        assert one == {(m.start, m.stop) for part in parts for m in find(look, part).masks}


@pytest.mark.parametrize("shape", [(1, 90, 70), (3, 700, 900)])
def test_black_and_white_of_an_image_that_is_read_are_those_of_one_in_memory(shape, rng):
    pixels = rng.integers(0, 60_000, shape).astype(np.uint16)
    assert intensity_range(values(pixels)) == intensity_range(pixels)


def test_the_level_nearest_to_the_models_pixel_size_is_read(tmp_path):
    labels = discs((240, 240), [(60, 80, 20), (160, 130, 26)])
    pixels = picture(labels)
    with tifffile.TiffWriter(tmp_path / "image.tif", ome=True) as file:
        about = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        file.write(pixels, subifds=1, tile=(64, 64), metadata=about)
        file.write(pixels[::2, ::2], subfiletype=1, tile=(64, 64))
    found, _ = labels_of(pixels, tmp_path)
    assert same_partition(found, segment(pixels[::2, ::2], NullModel()).labels)
    outlines = geojson.read(tmp_path / "out.geojson", pixels.shape)
    assert np.array_equal(outlines[::2, ::2], found)
    assert (outlines > 0).mean() == pytest.approx((labels > 0).mean(), rel=0.1)


def test_glass_is_passed_over_and_the_share_told(tmp_path):
    rgb = np.full((400, 600, 3), 240, np.uint8)
    rgb[100:200, 50:180] = (180, 90, 160)
    tifffile.imwrite(tmp_path / "image.tif", rgb, photometric="rgb", tile=(64, 64))
    _, summary = labels_of(rgb, tmp_path, only="tissue", tile=64, halo=16)
    assert 0.05 < summary.tissue < 0.1
    assert 0 < summary.n_looked_at < summary.n_tiles / 3
    rgb[:] = 240
    tifffile.imwrite(tmp_path / "image.tif", rgb, photometric="rgb", tile=(64, 64))
    _, summary = labels_of(rgb, tmp_path, "glass", only="tissue", tile=64, halo=16)
    assert (summary.tissue, summary.n_looked_at, summary.n_objects) == (0, 0, 0)
    tifffile.imwrite(tmp_path / "image.tif", rgb[..., 0])
    with pytest.raises(ValueError, match="told from glass by its colour"):
        labels_of(rgb, tmp_path, "grey", only="tissue")


def test_a_region_is_taken_to_the_level_that_is_read():
    assert region((10, 20, 30, 40), (2.0, 2.0), (50, 60)) == ((5, 20), (10, 30))
    with pytest.raises(ValueError, match="outside the image of 100 x 120"):
        region((200, 0, 5, 5), (2.0, 2.0), (50, 60))
    with pytest.raises(ValueError, match="give y,x,height,width"):
        region((0, 0, 5), (1.0, 1.0), (50, 60))


def test_tiles_shrink_to_the_memory_allowed():
    config = NullModel().config
    assert memory.parsed("2GB") == memory.parsed("2") == 2**31
    assert memory.parsed("800 MB") == 800 * 2**20
    sides = [memory.fitting(config, None, None, memory.parsed(text)) for text in ("4GB", "600MB", "400MB")]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 1024 > sides[2]
    assert memory.needed(config, sides[1], 128) <= memory.parsed("600MB")
    with pytest.raises(ValueError, match="at least"):
        memory.fitting(config, None, None, memory.parsed("100MB"))
    with pytest.raises(ValueError, match="write it as 2GB"):
        memory.parsed("lots")


def test_a_fingerprint_tells_images_apart(tmp_path):
    group = zarr.create_array(tmp_path / "a.zarr", data=np.zeros((40, 40), np.uint8), chunks=(20, 20), fill_value=9)
    before = fingerprint(tmp_path / "a.zarr")
    assert before == fingerprint(tmp_path / "a.zarr")
    group[30, 30] = 1
    assert before != fingerprint(tmp_path / "a.zarr")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_workers_give_the_files_of_one_process_though_one_is_killed(tmp_path, rng):
    psutil = pytest.importorskip("psutil")
    image = picture(scattered((384, 256), (6, 10), 30, rng, gap=3))
    options = {"tile": 128, "halo": 0, "mpp": 0.5, "threads": 1}
    alone, _ = labels_of(image, tmp_path, "alone", "nuclei", **options)
    killed = []

    def kill(step, done, total):
        if step == "found" and not killed:
            children = psutil.Process().children()
            workers = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
            killed.append(workers[0].pid)
            os.kill(workers[0].pid, signal.SIGKILL)

    both, summary = labels_of(image, tmp_path, "both", "nuclei", workers=2, progress=kill, **options)
    assert killed
    assert not summary.failures
    assert alone.max() > 0
    assert np.array_equal(alone, both)
    for end in ("_objects.csv", ".geojson", "_prompts.json"):
        assert (tmp_path / f"alone{end}").read_bytes() == (tmp_path / f"both{end}").read_bytes()


def test_workers_need_a_model_that_has_a_name(image, tmp_path):
    with pytest.raises(ValueError, match="give its name or folder"):
        labels_of(image, tmp_path, workers=2)


def test_thumbnails_are_small(rng):
    level = large.plan.lazy.pyramid.Level(rng.integers(0, 255, (3, 5000, 300), np.uint8), None)
    assert max(tissue.thumbnail(level).shape) <= tissue.THUMBNAIL


def test_labels_of_an_ome_zarr_image_name_it(image, tmp_path):
    group = zarr.open_group(tmp_path / "image.zarr", mode="w")
    group.create_array("0", data=image)
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scale = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [scale]}]}
    large.segment(tmp_path / "image.zarr", tmp_path / "out.zarr", NullModel())
    label = tmp_path / "out.zarr" / "labels" / "nuclei"
    source = zarr.open_group(label, mode="r").attrs["ome"]["image-label"]["source"]["image"]
    assert (label / source).resolve() == (tmp_path / "image.zarr").resolve()


def test_a_run_that_is_killed_while_its_files_are_put_in_place_can_be_resumed(image, tmp_path, monkeypatch):
    whole, _ = labels_of(image, tmp_path, "whole", **CUT)
    recorded = large.segmenting.recorded

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(large.segmenting, "recorded", killed)  # after the labels are there, before the manifest
    with pytest.raises(KeyboardInterrupt):
        labels_of(image, tmp_path, **CUT)
    monkeypatch.setattr(large.segmenting, "recorded", recorded)
    assert np.array_equal(labels_of(image, tmp_path, begin="resume", **CUT)[0], whole)


def test_what_is_left_of_a_finished_run_is_not_taken_for_a_new_ones(image, tmp_path):
    left = tmp_path / ".out.ome.zarr.parts" / "found"
    left.mkdir(parents=True)
    (left / "0.tile").write_bytes(b"of another run")
    whole, _ = labels_of(image, tmp_path, "whole", **CUT)
    assert np.array_equal(labels_of(image, tmp_path, **CUT)[0], whole)


class Alone(NullModel):
    """A model whose network does not bear two threads at once; it counts how often it was asked."""

    def __init__(self):
        super().__init__()
        self.turn, self.asked = threading.Lock(), 0

    def encode(self, image):
        if not self.turn.acquire(blocking=False):
            raise RuntimeError("two threads are in the network")
        time.sleep(0.002)
        self.asked += 1
        self.turn.release()
        return super().encode(image)


def test_one_thread_at_a_time_is_in_the_network(image, tmp_path):
    model = Alone()
    _, summary = labels_of(image, tmp_path, model=model, mpp=0.5, **CUT)
    assert not summary.failures
    assert model.asked >= summary.n_tiles > 4


def test_two_tiles_are_under_way_at_once(image, tmp_path, monkeypatch):
    """Two tiles are read before either of them goes on, which one thread would wait for in vain."""
    both, first, read = threading.Barrier(2), iter(range(2)), pipeline.pixels

    def reading(*args):
        if next(first, None) is not None:
            both.wait(timeout=20)
        return read(*args)

    monkeypatch.setattr(pipeline, "pixels", reading)
    _, summary = labels_of(image, tmp_path, mpp=0.5, **CUT)
    assert both.broken is False
    assert not summary.failures


class Growing(NullModel):
    """A model whose masks are larger than what they were asked with, so that objects reach beyond their prompts."""

    def decode(self, windows, point_coords, point_labels, mask_logits, has_mask):
        seen = super().decode(windows, point_coords, point_labels, mask_logits, has_mask)
        return seen._replace(low_res_logits=ndimage.grey_dilation(seen.low_res_logits, (1, 1, 5, 5)))


def test_an_object_that_grows_into_another_tile_is_lost_to_none(rng):
    image = picture(scattered((100, 90), (3, 6), 25, rng, gap=8))
    whole, tiled = segment(image, Growing(), tile=512), segment(image, Growing(), tile=32, halo=32)
    assert whole.n_objects > 10
    assert same_partition(whole.labels, tiled.labels)
