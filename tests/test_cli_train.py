from __future__ import annotations

import pytest
from typer.testing import CliRunner

from promptless.cli import app
from promptless.config import ModelConfig
from promptless.train import adapters
from promptless.train.choosing import FOREGROUNDS
from promptless.train.volume import training
from test_train_adapters import TINY, prepared_folder
from test_train_material import save
from volumes import RECIPE, scan_folder


def run(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture
def cells(tmp_path):
    for name in "abcde":
        save(tmp_path / "cells", name)
    return tmp_path / "cells"


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Let the recipe that ships be a tiny one."""
    begin, end = TINY.index("[decoder]"), TINY.index("[model]")
    (tmp_path / "tiny.toml").write_text(TINY[:begin] + TINY[end:])
    monkeypatch.setattr(adapters, "RECIPE", tmp_path / "tiny.toml")
    monkeypatch.setattr("promptless.train.choosing.FOREGROUNDS", FOREGROUNDS[:1])


def test_a_folder_of_images_and_masks_is_enough(quick, cells, tmp_path):
    answer = run("--data", cells, "-o", tmp_path / "mine")
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert lines[0].split("  ")[0] == "images"
    assert lines[-1] == str(tmp_path / "mine")
    assert any(line.startswith("test (") and "mSA" in line for line in lines)
    assert run("-o", tmp_path / "mine", "--resume").stdout == answer.stdout
    assert ModelConfig.read(tmp_path / "mine" / "config.json").adapter.backbone == "nuclei"
    assert (tmp_path / "mine" / "run" / "data" / "split.json").is_file()
    assert "on the one test image, which shows little, the adapter is not shown to differ" in answer.stderr
    assert f"look at {tmp_path / 'mine' / 'run' / 'report' / 'worst'}" in answer.stderr
    for stage in ("  0% reading", "generator 1/", "  0% choosing", "  0% measuring nuclei, image 1 of 2"):
        assert any(stage in line for line in answer.stderr.splitlines()), stage


def test_what_is_missing_is_wrong_usage(tmp_path):
    answer = run("-o", tmp_path / "mine")
    assert answer.exit_code == 2
    assert "--data" in answer.output


def test_an_output_that_is_a_file_is_refused(quick, cells, tmp_path):
    (tmp_path / "mine").write_text("")
    answer = run("--data", cells, "-o", tmp_path / "mine")
    assert (answer.exit_code, "is a file; name a folder with -o" in answer.output) == (1, True)


def test_nothing_to_resume_is_told_before_anything_is_done(quick, cells, tmp_path):
    answer = run("--data", cells, "-o", tmp_path / "mine", "--resume")
    assert (answer.exit_code, "leave out --resume" in answer.output) == (1, True)
    assert not (tmp_path / "mine").exists()


def test_one_image_is_an_error_of_one_line(quick, tmp_path):
    save(tmp_path / "one", "a")
    answer = run("--data", tmp_path / "one", "-o", tmp_path / "mine", "-q")
    assert answer.exit_code == 1
    assert answer.output.startswith("promptless: ")
    assert answer.output.count("\n") == 1
    assert "label more, or cut the image into parts" in answer.output
    assert not (tmp_path / "mine").exists()


def test_a_backbone_is_looked_for_before_images_are_read(quick, cells, tmp_path):
    answer = run("--data", cells, "--backbone", "sam_vitb", "-o", tmp_path / "mine")
    assert answer.exit_code == 1
    assert "did you mean sam_vit_b?" in answer.stderr
    assert ("reading" in answer.stderr, "training on" in answer.stderr) == (False, False)
    assert not (tmp_path / "mine").exists()


def test_masks_that_are_refused_leave_no_folder(quick, cells, tmp_path):
    save(cells, "d", shape=(30, 44))
    assert run("--data", cells, "-o", tmp_path / "deep" / "mine").exit_code == 1
    assert not (tmp_path / "deep").exists()


def test_an_unknown_backbone_is_told_with_the_way_out(quick, tmp_path):
    answer = run("--data", prepared_folder(tmp_path / "set"), "--backbone", "sam_vit_b", "-o", tmp_path / "mine")
    assert (answer.exit_code, "promptless models pull sam_vit_b" in answer.output) == (1, True)


def test_an_interrupted_training_says_how_to_go_on(quick, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(adapters, "follow", interrupted)
    answer = run("--data", prepared_folder(tmp_path / "set"), "-o", tmp_path / "mine")
    assert (answer.exit_code, "--resume goes on from there" in answer.output) == (130, True)


def test_a_recipe_for_voxels_trains_a_model_on_scans(tmp_path, monkeypatch):
    text = RECIPE.replace("steps = 12", "steps = 2").replace("look_every = 6", "look_every = 2")
    (tmp_path / "shapes.toml").write_text(text)
    data = scan_folder(tmp_path / "shapes")
    answer = run(tmp_path / "shapes.toml", "--data", data, "-o", tmp_path / "model", "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert lines[0].split()[:2] == ["scans", "structure"]
    assert [line.split()[2] for line in lines[1:-1]] == ["ball", "box", "mean"] * 2
    assert lines[-1] == str(tmp_path / "model")
    for stage in ("  0% reading a", "step 1/2", "measuring, dev 1 of 2"):
        assert any(stage in line for line in answer.stderr.splitlines()), stage
    assert "on the one test scan, which shows little, the model has a mean Dice of" in answer.stderr
    monkeypatch.setattr(training, "why_not", lambda *_: "a better one is there")
    again = run(tmp_path / "shapes.toml", "--data", data, "-o", tmp_path / "model", "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[-1] == str(tmp_path / "model" / "run" / "refused")
    assert "a better one is there; the new one is kept in" in again.stderr
