from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from large_images import stack_of
from made_up import picture, scattered
from promptless.cli import app
from promptless.large import bench
from voxel_models import NullVoxelModel, blocks

COMMON = ["--mpp", "0.5", "--tile", "128", "--halo", "0", "--threads", "1"]


@pytest.fixture
def slide(tmp_path, rng):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture(scattered((256, 200), (7, 10), 20, rng, gap=3)), tile=(64, 64), compression="zlib")
    return path


def segment(*words):
    return CliRunner().invoke(app, ["segment", *map(str, words)])


def test_an_output_that_ends_in_zarr_is_a_store(slide, tmp_path):
    result = segment(slide, "-o", tmp_path / "out.ome.zarr", "--json", *COMMON)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["source"], told["state"]) == (str(slide), "done")
    labels = zarr.open_array(tmp_path / "out.ome.zarr" / "labels" / "nuclei" / "0", mode="r")[:]
    assert told["n_objects"] == labels.max() > 0
    assert (told["tiles"], told["failed"]) == (4, [])
    assert set(told["outputs"]) == {"labels", "objects", "geojson", "prompts", "manifest"}
    again = segment(slide, "-o", tmp_path / "out.ome.zarr", *COMMON)
    assert again.exit_code == 1
    assert "--overwrite replaces it" in again.stderr


def test_a_look_before_writes_nothing(slide, tmp_path):
    result = segment(
        slide, "-o", tmp_path / "out.ome.zarr", "--dry-run", "--max-memory", "450MB", "--roi", "0,0,100,90"
    )
    assert result.exit_code == 0, result.output
    assert "tiles" in result.stdout
    assert "not known (--mpp gives it)" in result.stdout
    assert "each process stays below 450 MB" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["slide.tif"]


def test_a_tile_that_fails_gives_code_3(slide, tmp_path, monkeypatch):
    step = bench.STEPS["found"]

    def failing(at, number):
        if number == 3:
            raise ValueError("a damaged chunk")
        return step(at, number)

    monkeypatch.setitem(bench.STEPS, "found", failing)
    result = segment(slide, "-o", tmp_path / "out.ome.zarr", *COMMON)
    assert result.exit_code == 3
    assert "not segmented: y 128 to 256, x 128 to 200: a damaged chunk" in result.stderr
    monkeypatch.setitem(bench.STEPS, "found", step)
    assert segment(slide, "-o", tmp_path / "out.ome.zarr", "--resume", *COMMON).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "out.ome.zarr", "--recursive"], "does not go with out.ome.zarr"),
        (["-o", "out.ome.zarr", "--roi", "1,2,3"], "write it as Y,X,HEIGHT,WIDTH"),
        (["-o", "out.ome.zarr", "--resume", "--overwrite"], "exclude each other"),
        (["-o", "out.ome.zarr", "--frame", "0"], "does not go with out.ome.zarr"),
        (["-o", "out.ome.tif", "--save-prompt"], "does not go with out.ome.tif"),
        (["-o", "out.ome.zarr", "--flips"], "nuclei is for planes"),
        (["-o", "folder", "--tissue"], "ends in .ome.zarr"),
        (["-o", "folder", "--workers", "2"], "ends in .ome.zarr"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(slide, words, message):
    result = segment(slide, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())


def test_a_scan_is_told_where_its_labels_belong(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    result = segment(tmp_path / "scan.nii.gz", "-o", tmp_path / "out.ome.zarr")
    assert result.exit_code == 2
    assert "belong on its own grid" in " ".join(result.stderr.replace("│", "").split())


def test_a_stack_is_announced_with_its_planes(tmp_path):
    source = stack_of(np.zeros((5, 90, 80), np.uint8), tmp_path / "a.ome.zarr")
    result = segment(source, "-o", tmp_path / "out.ome.zarr", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "5 along z, one by one" in result.stdout


def test_a_volume_is_segmented_by_a_model_for_volumes(tmp_path, monkeypatch):
    monkeypatch.setattr("promptless.loading.load", lambda *_, **__: NullVoxelModel(crop=(8, 16, 16)))
    image, labels = blocks()
    source = stack_of(image.data[0], tmp_path / "a.ome.zarr")
    for options in (["--workers", "2"], ["--tissue"], ["--mpp", "1"], ["--page", "0"], ["--dry-run"]):
        refused = segment(source, "-o", tmp_path / "out.ome.zarr", *options)
        assert refused.exit_code == 2
        assert options[0] in refused.stderr
        assert "null_volume is for volumes" in " ".join(refused.stderr.replace("│", "").split())
    result = segment(source, "-o", tmp_path / "out.ome.zarr", "--tile", "64")
    assert result.exit_code == 0, result.output
    assert "2 structures in 12 of 12 crops: " in result.stdout
    found = zarr.open_array(tmp_path / "out.ome.zarr" / "labels" / "structures" / "0", mode="r")[:]
    assert np.array_equal(found, labels)
    again = segment(source, "-o", tmp_path / "out.ome.zarr", "--tile", "64", "--resume", "--json")
    assert json.loads(again.stdout)["n_objects"] == 2


def test_models_that_do_not_tell_objects_apart_are_refused(slide, tmp_path):
    from made_up import NullSemanticModel
    from promptless import large

    with pytest.raises(ValueError, match="does not tell objects apart by tiles"):
        large.segment(slide, tmp_path / "out.ome.zarr", NullSemanticModel())
    assert np.array_equal([path.name for path in tmp_path.iterdir()], ["slide.tif"])
