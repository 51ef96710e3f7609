from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from typer.testing import CliRunner

from made_up import discs, picture
from promptless.cli import app


@pytest.fixture
def image(tmp_path):
    labels = discs((64, 72), [(16, 16, 8), (20, 50, 7), (46, 30, 9)])
    path = tmp_path / "a.png"
    PillowImage.fromarray(picture(labels)).save(path)
    return path


@pytest.fixture
def run(tiny_folder, tmp_path):
    """Run a command with the tiny model in this process."""

    def command(verb, *arguments, out=tmp_path / "out"):
        where = ["-o", str(out), "--model", str(tiny_folder), "--threads", "1"]
        return CliRunner().invoke(app, [verb, *map(str, arguments), *where])

    return command


def labels_in(folder):
    return tifffile.imread(folder / "a_labels.tif")


def test_prompts_are_written_and_decoded_as_segment_would(image, run, tmp_path):
    answer = run("prompts", image, out=tmp_path / "p.json")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith("a.png: 3 prompts, ")
    run("segment", image, out=tmp_path / "whole")
    assert run("segment", image, "--prompts", tmp_path / "p.json", out=tmp_path / "asked").exit_code == 0
    assert np.array_equal(labels_in(tmp_path / "whole"), labels_in(tmp_path / "asked"))


def test_a_prompts_file_is_not_replaced_unasked(image, run, tmp_path):
    path = tmp_path / "p.json"
    path.write_text("mine")
    assert run("prompts", image, out=path).exit_code == 1
    assert path.read_text() == "mine"
    assert run("prompts", image, "--overwrite", out=path).exit_code == 0


def test_an_edited_file_changes_only_what_was_edited(image, run, tmp_path):
    run("segment", image)
    before = labels_in(tmp_path / "out")
    path = tmp_path / "out" / "a_prompts.json"
    content = json.loads(path.read_text())
    del content["prompts"][1]
    path.write_text(json.dumps(content))
    answer = run("segment", image, "--prompts", path)
    assert "2 objects (1 deleted)" in answer.stdout
    assert np.array_equal(labels_in(tmp_path / "out"), np.where(before == 2, 0, before))


def test_clicks_correct_and_add(image, run, tmp_path):
    run("segment", image)
    answer = run("segment", image, "--point", "58,60", "--negative", "16,16")
    assert answer.exit_code == 0, answer.output
    edit = json.loads((tmp_path / "out" / "a_manifest.json").read_text())["edits"][0]
    assert edit["edited"] == [1]
    assert edit["added"] in ([4], [])


def test_the_embedding_is_kept_when_asked_for(image, run, tmp_path):
    run("segment", image)
    assert not (tmp_path / "out" / "a_embedding").exists()
    run("segment", image, "--keep-embedding", "--overwrite")
    assert len(list((tmp_path / "out" / "a_embedding").iterdir())) == 1


def test_prompts_are_for_one_image(image, run, tmp_path):
    PillowImage.open(image).save(tmp_path / "b.png")
    answer = run("segment", image, tmp_path / "b.png", "--point", "3,3")
    assert answer.exit_code == 2
    assert "one image" in answer.stderr


@pytest.mark.parametrize("text", ["3,4,5", "300,4", "-9,4"])
def test_a_point_outside_is_refused(image, run, text, tmp_path):
    run("segment", image)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    answer = run("segment", image, f"--point={text}")
    assert answer.exit_code == 1
    assert "is not in the image of 64 x 72 pixels" in answer.stderr
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert after == before


@pytest.mark.parametrize("text", ["", "3", "here", "nan,1", "1;2"])
def test_what_is_no_position_is_wrong_usage(image, run, text):
    assert run("segment", image, f"--point={text}").exit_code == 2


def test_a_bad_prompts_file_is_one_line_and_changes_nothing(image, run, tmp_path):
    run("segment", image)
    before = labels_in(tmp_path / "out")
    bad = tmp_path / "bad.json"
    bad.write_text('{"format": "promptless.prompts", "version": 1, "shape": [9, 9], "prompts": []}')
    answer = run("segment", image, "--prompts", bad)
    assert answer.exit_code == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "for an image of 9 x 9 pixels, but this one has 64 x 72" in answer.stderr
    assert np.array_equal(labels_in(tmp_path / "out"), before)


@pytest.fixture
def quick(student_folder, tiny_folder, tmp_path):
    """Run `segment` with a student of one pass, whose teacher is the tiny model."""

    def command(*arguments):
        where = ["-o", tmp_path / "out", "--model", student_folder, "--threads", 1]
        return CliRunner().invoke(app, ["segment", *map(str, [*arguments, *where])])

    return command


def test_clicks_on_a_students_result_are_decoded_by_its_teacher(image, quick, tiny_folder, tmp_path):
    assert quick(image).exit_code == 0
    before = labels_in(tmp_path / "out")
    answer = quick(image, "--point", "58,60", "--negative", "16,16", "--teacher", tiny_folder)
    assert answer.exit_code == 0, answer.output
    record = json.loads((tmp_path / "out" / "a_manifest.json").read_text())
    assert (record["model"]["name"], record["edits"][0]["model"]["name"]) == ("quick", "tiny")
    after = labels_in(tmp_path / "out")
    kept = (before != before[16, 16]) & (before > 0)
    assert np.array_equal(after[kept], before[kept])


def test_a_students_prompts_file_can_be_edited(image, quick, tiny_folder, tmp_path):
    quick(image)
    path = tmp_path / "out" / "a_prompts.json"
    content = json.loads(path.read_text())
    del content["prompts"][1]
    path.write_text(json.dumps(content))
    assert "2 objects (1 deleted)" in quick(image, "--prompts", path, "--teacher", tiny_folder).stdout


def test_a_teacher_that_is_not_here_is_asked_for(image, quick):
    quick(image)
    answer = quick(image, "--point", "58,60")
    assert answer.exit_code == 1
    assert "--teacher FOLDER" in answer.output


def test_what_does_not_go_with_a_student_is_wrong_usage(image, quick, run, tiny_folder):
    assert quick(image, "--keep-embedding").exit_code == 2
    answer = run("segment", image, "--teacher", tiny_folder)
    assert (answer.exit_code, "decodes prompts itself" in answer.output) == (2, True)


def test_an_edit_that_fails_has_its_line_of_json(run, image, tmp_path):
    answer = run("segment", image, "--point", "5000,20", "--json", out=tmp_path / "out")
    told = json.loads(answer.stdout)
    assert answer.exit_code == 1
    assert (told["source"], told["state"]) == (str(image), "failed")
    assert "5000" in told["message"]
