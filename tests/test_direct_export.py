from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from made_up import discs, picture
from promptless import load, segment
from promptless.cli import app
from promptless.direct_export import compared, export, shown
from promptless.image import Image
from promptless.registry import sha256


def images(n=4):
    rng = np.random.default_rng(5)
    out = []
    for _ in range(n):
        places = [(12 + 24 * (i // 3), 12 + 24 * (i % 3), int(rng.integers(5, 9))) for i in range(6)]
        out.append(Image.from_array(picture(discs((48, 72), places))))
    return out


@pytest.fixture(scope="module")
def eight(student_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "quick"
    return out, export(student_folder, out, images())


def test_a_student_in_8_bits_finds_what_it_found(eight, student_folder):
    folder, report = eight
    exact, quick = load(student_folder, threads=1), load(folder, threads=1)
    image = images()[1]
    assert segment(image, quick).n_objects == segment(image, exact).n_objects == 6
    assert report.largest < 0.2  # of logits up to 10
    assert report.dice > 0.9  # half of a cell's pixels are exactly at the threshold here


def test_its_convolutions_compute_in_8_bits_but_for_the_first_and_last(eight):
    graph = onnx.load(eight[0] / "encode.onnx").graph
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_8_bits = [{*node.input[:2]} <= dequantised for node in convolutions]
    assert len(convolutions) > 4
    assert in_8_bits == [False, *[True] * (len(convolutions) - 2), False]


def test_the_folder_says_what_it_is(eight, student_folder):
    folder, report = eight
    config = load(folder, threads=1).config
    assert config.version == "1-int8"
    assert config.files == {"encode.onnx": sha256(folder / "encode.onnx")}
    assert json.loads((folder / "parity.json").read_text())["images"] == report.images == 4
    assert b"/tmp" not in (folder / "encode.onnx").read_bytes()
    assert config.teacher == load(student_folder, threads=1).config.teacher


def test_an_altered_file_is_refused(eight, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(eight[0], copy)
    with (copy / "encode.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="sha256 differs"):
        load(copy)


def test_a_model_is_on_a_par_with_itself(student_folder):
    model = load(student_folder, threads=1)
    report = compared(model, model, images(2))
    assert (report.ap90, report.dice, report.largest) == (1.0, 1.0, 0.0)


def test_calibration_sees_what_the_model_sees(student_folder):
    model = load(student_folder, threads=1)
    seen = shown(model, images(2))
    assert all(one.shape[0] == 3 and not set(np.mod(one.shape[1:], model.config.pad)) - {0} for one in seen)


@pytest.mark.parametrize("n", [0, 3])
def test_too_few_images_are_refused(student_folder, tmp_path, n):
    with pytest.raises(ValueError, match="give 4 at least"):
        export(student_folder, tmp_path / "out", images(n))


def test_a_model_that_decodes_is_refused(tiny_folder, tmp_path):
    with pytest.raises(ValueError, match="students of one pass"):
        export(tiny_folder, tmp_path / "out", images())


def test_a_folder_that_holds_something_is_not_replaced(student_folder, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="choose another folder"):
        export(student_folder, tmp_path, images())
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_exports_students(student_folder, tmp_path):
    for number, image in enumerate(images()):
        PillowImage.fromarray(image.data[0]).save(tmp_path / f"{number}.png")
    told = ["models", "export", str(student_folder), "-o", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, [*told, "--int8", "--calibrate", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == str(tmp_path / "out")
    assert "AP at IoU .9" in answer.stderr
    refused = CliRunner().invoke(app, [*told[:-1], str(tmp_path / "other")])
    assert (refused.exit_code, "is ONNX already" in refused.output) == (1, True)
