from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from adapting import learned
from promptless.cli import app
from promptless.config import ModelConfig
from promptless.io.hashes import sha256
from promptless.networks.volume import models
from promptless.train import answers
from volumes import scan_folder, voxel_config


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a teacher that knows nothing, and labelled scans."""
    place = tmp_path_factory.mktemp("teacher")
    config = voxel_config(network="compact", sizes={"widths": [4, 6]}, crop=(12, 16, 16))
    models.save(learned(models.begun(config, None)), place)
    files = {models.TRAINED: sha256(place / models.TRAINED)}
    replace(config, network=models.sizes_of(config), files=files).write(place / "config.json")
    scan_folder(place / "shapes")
    return place


def test_a_student_is_distilled_exported_and_told_of(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "place", lambda: tmp_path / "answers")
    monkeypatch.setattr("promptless.train.volume.report.draw_curves", lambda *_: None)
    chosen = ("--student", "unet3d_s", "--data", teacher / "shapes", "--labelled", "1", "--steps", "1")
    answer = run("distill", teacher, *chosen, "-o", tmp_path / "mine", "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == str(tmp_path / "mine")
    assert "asking shapes about b" in answer.stderr
    assert ModelConfig.read(tmp_path / "mine" / "config.json").teacher.name == "shapes"
    card = run("models", "card", tmp_path / "mine")
    assert (card.exit_code, "| teacher | shapes, sha256" in card.stdout) == (0, True)
    exported = run("models", "export", tmp_path / "mine", "-o", tmp_path / "onnx")
    assert exported.exit_code == 0, exported.output
    assert "labels of both: mean Dice" in exported.stderr
    assert json.loads((tmp_path / "onnx" / "parity.json").read_text())["scans"] == ["made of noise"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--student", "unet4d"), "there is no student 'unet4d'; there are unet2d_s for images, unet3d_s"),
        (("--student", "unet3d_s", "--flips", "w"), "names axes out of zyx"),
        (("--student", "unet2d_s"), "is a model on volumes, and unet2d_s learns from one on planes"),
        (("--student", "unet3d_s", "--labelled", "7"), "labelled is 7, and there are 2 scans"),
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(teacher, tmp_path, arguments, message):
    answer = run("distill", teacher, "--data", teacher / "shapes", "-o", tmp_path / "mine", *arguments)
    assert (answer.exit_code, message in answer.output) == (1, True), answer.output
    assert not (tmp_path / "mine").exists()


def test_a_teacher_on_planes_is_refused(teacher, tmp_path):
    chosen = ("--student", "unet3d_s", "--data", teacher / "shapes", "-o", tmp_path / "mine")
    assert "nuclei is a model on planes" in run("distill", "nuclei", *chosen).output


def test_eight_bits_and_scans_to_calibrate_by_belong_together(teacher, tmp_path):
    for more in (("--int8",), ("--calibrate", teacher / "shapes/images")):
        answer = run("models", "export", teacher, "-o", tmp_path / "onnx", *more)
        assert (answer.exit_code, "8 bits need scans" in answer.output) == (2, True)
