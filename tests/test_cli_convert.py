from __future__ import annotations

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from promptless.cli import app
from promptless.io import labelled, labels


def convert(*words):
    return CliRunner().invoke(app, ["convert", *map(str, words)])


@pytest.fixture
def cells(blobs, tmp_path):
    labels.write_array(blobs[1], tmp_path / "cells.tif")
    return tmp_path / "cells.tif"


@pytest.mark.parametrize("name", ["o.ome.zarr", "o.ome.tif", "o.geojson.gz", "o.zip", "o.json", "o.png", "o.npy"])
def test_the_name_of_the_output_says_the_format(name, cells, tmp_path, blobs):
    answer = convert(cells, "-o", tmp_path / "out" / name)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.split() == [str(tmp_path / "out" / name)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    back = convert(tmp_path / "out" / name, "--shape", "80,112", "-o", tmp_path / "back.tif")
    assert back.exit_code == 0, back.output
    assert np.array_equal(tifffile.imread(tmp_path / "back.tif"), blobs[1])


def test_several_files_go_into_a_folder(cells, tmp_path):
    other = tmp_path / "other_labels.tif"
    other.write_bytes(cells.read_bytes())
    answer = convert(cells, other, "-o", tmp_path / "out", "--to", "ome-zarr,objects")
    assert answer.exit_code == 0, answer.output
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"cells.ome.zarr", "cells_objects.csv", "other.ome.zarr", "other_objects.csv"}


def test_outlines_need_the_size_of_their_image(cells, tmp_path, blobs):
    outlines = tmp_path / "o.geojson"
    convert(cells, "-o", outlines)
    answer = convert(outlines, "-o", tmp_path / "a.tif")
    assert answer.exit_code == 1
    assert "give its height and width (--shape), or the image (--like)" in answer.stderr
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "image.ome.tif", blobs[0], metadata=about)
    answer = convert(outlines, "--like", tmp_path / "image.ome.tif", "-o", tmp_path / "a.ome.tif")
    assert answer.exit_code == 0, answer.output
    read = labelled.opened(tmp_path / "a.ome.tif")
    assert np.array_equal(read.labels[:], blobs[1])
    assert read.spacing == (0.5, 0.5)


def test_the_pixel_size_can_be_given(cells, tmp_path):
    assert convert(cells, "--mpp", "0.25", "-o", tmp_path / "a.ome.zarr").exit_code == 0
    assert labelled.opened(tmp_path / "a.ome.zarr").spacing == (0.25, 0.25)
    assert convert(tmp_path / "a.ome.zarr", "-o", tmp_path / "a.csv").exit_code == 0
    assert "area_um2" in (tmp_path / "a.csv").read_text().splitlines()[0]


def test_tables_have_no_pixels(cells, tmp_path):
    convert(cells, "-o", tmp_path / "a.csv")
    answer = convert(tmp_path / "a.csv", "-o", tmp_path / "a.png")
    assert answer.exit_code == 1
    assert "is a table, which has no pixels and no outlines" in answer.stderr


def test_what_is_there_is_kept_unless_overwriting(cells, tmp_path):
    (tmp_path / "o.ome.zarr").mkdir()
    (tmp_path / "o.ome.zarr" / "mine").touch()
    answer = convert(cells, "-o", tmp_path / "o.ome.zarr")
    assert answer.exit_code == 1
    assert "--overwrite replaces it" in answer.stderr
    assert convert(cells, "-o", tmp_path / "o.ome.zarr", "--overwrite").exit_code == 0
    assert not (tmp_path / "o.ome.zarr" / "mine").exists()
    answer = convert(cells, "-o", cells, "--overwrite")
    assert answer.exit_code == 1
    assert "would replace what is read" in answer.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "out.svg"], "does not say a format"),
        (["-o", "out.tif", "--shape", "1,2", "--like", "x.tif"], "exclude each other"),
        (["-o", "out", "--to", "svg"], "'svg' is none of"),
        (["other.tif", "-o", "out.tif"], "is one file, but there are 2 sources"),
    ],
)
def test_wrong_usage_gives_2(words, message, cells):
    answer = convert(cells, *words)
    assert answer.exit_code == 2
    assert message in " ".join(answer.stderr.replace("│", "").split())
