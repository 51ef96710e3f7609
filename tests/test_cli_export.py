from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from made_up import NullModel
from promptless.cli import app
from promptless.io import outputs
from promptless.io.geojson import read
from promptless.pipeline import segment


@pytest.fixture
def result(blobs):
    return segment(blobs[0], NullModel())


def export(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_a_label_image_is_written_in_every_format(result, tmp_path):
    labels = result.save(tmp_path / "in", "a")["labels"]
    answer = export(labels, "-o", tmp_path / "out", "--to", ",".join(outputs.FROM_LABELS))
    assert answer.exit_code == 0, answer.output
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == sorted("a" + outputs.WRITERS[kind].suffix for kind in outputs.FROM_LABELS)
    assert sorted(answer.stdout.splitlines()) == [str(tmp_path / "out" / name) for name in written]


def test_the_files_are_those_that_segmenting_writes(result, tmp_path):
    kinds = ["labels", "geojson", "roi", "classes"]
    paths = result.save(tmp_path / "in", "a", also=["roi", "classes"])
    export(paths["labels"], "-o", tmp_path / "out", "--to", ",".join(kinds))
    for kind in kinds:
        assert (tmp_path / "out" / paths[kind].name).read_bytes() == paths[kind].read_bytes(), kind


def test_edited_outlines_become_labels_again(result, tmp_path):
    path = result.save(tmp_path / "in", "a")["geojson"]
    content = json.loads(path.read_text())
    del content["features"][3]
    (tmp_path / "edited.geojson").write_text(json.dumps(content))
    answer = export(tmp_path / "edited.geojson", "--shape", "80,112", "--to", "labels", "-o", tmp_path)
    assert answer.exit_code == 0, answer.output
    labels = tifffile.imread(tmp_path / "edited_labels.tif")
    assert np.array_equal(labels, np.where(result.labels == 4, 0, result.labels))


def test_formats_may_be_repeated_and_several_files_given(result, tmp_path):
    sources = [result.save(tmp_path / "in", name)["labels"] for name in "ab"]
    answer = export(*sources, "-o", tmp_path / "out", "--to", "coco", "--to", "geojson")
    assert answer.exit_code == 0, answer.output
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert np.array_equal(read(tmp_path / "out" / "b.geojson", (80, 112)), result.labels)


def test_what_is_there_is_kept_unless_overwriting(result, tmp_path):
    paths = result.save(tmp_path, "a")
    paths["geojson"].write_text("edited")
    answer = export(paths["labels"], "-o", tmp_path, "--to", "coco,geojson")
    assert answer.exit_code == 1
    assert "a.geojson is there; --overwrite replaces it" in answer.stderr
    assert not (tmp_path / "a_coco.json").exists()
    assert paths["geojson"].read_text() == "edited"
    assert export(paths["labels"], "-o", tmp_path, "--to", "coco,geojson", "--overwrite").exit_code == 0
    assert np.array_equal(read(paths["geojson"], (80, 112)), result.labels)


def test_a_file_that_is_read_is_never_replaced(result, tmp_path):
    paths = result.save(tmp_path, "a")
    before = paths["labels"].read_bytes()
    answer = export(paths["labels"], "-o", tmp_path, "--to", "labels", "--overwrite")
    assert answer.exit_code == 1
    assert "would replace what is read" in answer.stderr
    assert paths["labels"].read_bytes() == before


def test_two_sources_of_one_name_are_refused(result, tmp_path):
    sources = [result.save(tmp_path / folder, "a")["labels"] for folder in ("x", "y")]
    answer = export(*sources, "-o", tmp_path / "out", "--to", "coco")
    assert answer.exit_code == 1
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "arguments", [["--to", "svg"], ["--to", "overlay"], ["--to", "coco", "--shape", "80"], []], ids=str
)
def test_wrong_usage_gives_2(result, tmp_path, arguments):
    labels = result.save(tmp_path, "a")["labels"]
    answer = export(labels, "-o", tmp_path / "out", *arguments)
    assert answer.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_one_clear_line(result, tmp_path, monkeypatch):
    labels = result.save(tmp_path, "a")["labels"]
    monkeypatch.setattr(outputs, "find_spec", lambda name: None)
    answer = export(labels, "-o", tmp_path / "out", "--to", "roi")
    assert answer.exit_code == 1
    assert answer.stderr == "promptless: roi needs roifile: pip install 'promptless[formats]'\n"


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path):
    answer = export(tmp_path / "no_labels.tif", "-o", tmp_path / "out", "--to", "coco")
    assert (answer.exit_code, len(answer.stderr.splitlines())) == (1, 1)
    assert "no_labels.tif does not exist" in answer.stderr


@pytest.mark.parametrize("kind", ["geojson", "coco", "roi"])
def test_a_volume_is_not_written_as_what_holds_a_plane(kind, tmp_path):
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[1:, 2:5, 2:5] = 1
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    answer = export(tmp_path / "a.tif", "-o", tmp_path / "out", "--to", f"labels,{kind}")
    assert answer.exit_code == 1
    assert f"a.tif has 3 axes (3, 20, 20), and {kind} hold a plane; convert one plane at a time" in answer.stderr
    assert not list((tmp_path / "out").iterdir())
    assert export(tmp_path / "a.tif", "-o", tmp_path / "out", "--to", "labels,objects").exit_code == 0
