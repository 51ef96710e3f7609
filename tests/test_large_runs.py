from __future__ import annotations

import errno

import numpy as np
import pytest
import tifffile
import zarr

from large_images import labels_of, stack_of
from made_up import NullModel, discs, picture, same_partition, scattered
from promptless import large
from promptless.io import labelled
from promptless.large import runs, segmenting, store

CUT = {"tile": 32, "halo": 16}


@pytest.fixture
def image(rng):
    return picture(scattered((100, 90), (3, 6), 30, rng, gap=3))


def test_a_pyramidal_tiff_has_the_labels_of_the_store(tmp_path):
    pixels = picture(discs((1300, 1100), [(40, 50, 9), (700, 20, 15), (1200, 1030, 30)]))
    found, _ = labels_of(pixels, tmp_path, mpp=0.5)
    large.segment(tmp_path / "image.tif", tmp_path / "one.ome.tif", NullModel(), mpp=0.5)
    with tifffile.TiffFile(tmp_path / "one.ome.tif") as file:
        levels = file.series[0].levels
        assert np.array_equal(levels[0].asarray(), found)
        assert np.array_equal(levels[1].asarray(), found[::2, ::2])
    for end in ("_objects.csv", ".geojson", "_prompts.json"):
        assert (tmp_path / f"one{end}").read_bytes() == (tmp_path / f"out{end}").read_bytes()
    known = labelled.opened(tmp_path / "one.ome.tif")
    assert known.spacing == (0.5, 0.5)
    assert np.allclose(known.told(known.whole().masks).scores, 0.9)
    again = large.segment(tmp_path / "image.tif", tmp_path / "one.ome.tif", NullModel(), mpp=0.5, begin="resume")
    assert again.paths["labels"] == tmp_path / "one.ome.tif"
    with pytest.raises(FileExistsError, match="is there and finished"):
        large.segment(tmp_path / "image.tif", tmp_path / "one.ome.tif", NullModel(), mpp=0.5)


def test_a_stack_is_no_pyramidal_tiff(tmp_path):
    source = stack_of(np.zeros((3, 40, 40), np.uint8), tmp_path / "a.ome.zarr")
    with pytest.raises(ValueError, match=r"holds one plane, but .* has 3 along z; write .ome.zarr"):
        large.segment(source, tmp_path / "out.ome.tif", NullModel())
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def full(function, calls):
    """Return a function that finds the disk full when it is called for the time after so many."""
    left = [calls]

    def instead(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*arguments, **named)

    return instead


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [(store, "replacing", calls) for calls in (0, 3, 12, 22)]
    + [(zarr.Array, "__setitem__", 0), (segmenting, "replacing", 4), (runs, "replacing", 0)],
)
def test_a_full_disk_stops_the_run_wherever_it_is_and_nothing_is_vouched_for(
    where, name, calls, image, tmp_path, monkeypatch
):
    whole, _ = labels_of(image, tmp_path, "whole", **CUT)
    with monkeypatch.context() as small:
        small.setattr(where, name, full(getattr(where, name), calls))
        with pytest.raises(OSError, match=r"No space left.*; make room, then --resume goes on .*out.ome.zarr.parts"):
            labels_of(image, tmp_path, **CUT)
    assert not (tmp_path / "out_manifest.json").exists()
    assert np.array_equal(labels_of(image, tmp_path, begin="resume", **CUT)[0], whole)
    for end in ("_objects.csv", ".geojson", "_prompts.json"):
        assert (tmp_path / f"out{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()


def test_a_damaged_chunk_costs_the_tiles_that_look_at_it(image, tmp_path):
    planes = np.stack([image, image])
    source = stack_of(planes, tmp_path / "a.ome.zarr")
    large.segment(source, tmp_path / "whole.zarr", NullModel(), **CUT)
    (source / "0" / "c" / "0" / "0" / "0").write_bytes(b"nonsense")  # 32 planes, rows and columns
    summary = large.segment(source, tmp_path / "out.zarr", NullModel(), **CUT)
    assert {failure.region[1:] for failure in summary.failures} == {
        ((y, y + 32), (x, x + 32)) for y in (0, 32) for x in (0, 32)
    }
    assert all("cannot be decoded at z" in failure.message for failure in summary.failures)
    found, whole = (zarr.open_array(tmp_path / f"{n}.zarr" / "labels" / "nuclei" / "0")[:] for n in ("out", "whole"))
    assert same_partition(found[:, 70:, 70:], whole[:, 70:, 70:])
    assert not found[:, :10, :10].any()


def test_a_file_that_a_power_cut_left_empty_is_made_again(image, tmp_path):
    whole, _ = labels_of(image, tmp_path, "whole", **CUT)

    def stop(step, done, total):
        if step == "settled":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labels_of(image, tmp_path, progress=stop, **CUT)
    store.path_of(tmp_path / ".out.ome.zarr.parts" / "found", 2).write_bytes(b"")
    assert np.array_equal(labels_of(image, tmp_path, begin="resume", **CUT)[0], whole)
