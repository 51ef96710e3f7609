from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from made_up import discs, picture, same_partition
from promptless import load, segment
from promptless.cli import app
from promptless.config import OnnxConfig
from promptless.export import OPSET
from promptless.image import Image
from promptless.planar_export import SPOTS, compared, export, made_up, shown
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


@pytest.fixture(scope="module")
def light(tiny_folder, tmp_path_factory):
    """The export of a model that decodes prompts."""
    out = tmp_path_factory.mktemp("light") / "tiny"
    return out, export(tiny_folder, out)


def test_a_model_that_decodes_becomes_a_folder_of_onnx(light, tiny_folder, blobs):
    folder, parity = light
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "decode.onnx",
        "encode.onnx",
        "parity.json",
    ]
    model, original = load(folder, threads=1), load(tiny_folder, runtime="torch")
    assert model.config.onnx == OnnxConfig(OPSET, None, original.config.pad)
    assert same_partition(segment(blobs[0], model).labels, segment(blobs[0], original).labels)
    assert (parity.images, parity.ap90, parity.dice) == (1, 1.0, 1.0)
    assert 0 < parity.largest < 0.1
    places = [b"/home", b"/usr", b"/tmp", b"site-packages", str(folder.parent).encode()]
    assert [place for path in folder.iterdir() for place in places if place in path.read_bytes()] == []


def test_several_images_are_looked_at_at_once(light, rng):
    images = rng.random((3, 3, 40, 64), np.float32)
    session = onnxruntime.InferenceSession(light[0] / "encode.onnx")
    together = session.run(None, {"image": images})
    for i, image in enumerate(images):
        for all_, one in zip(together, session.run(None, {"image": image[None]}), strict=True):
            assert all_[i : i + 1] == pytest.approx(one, abs=1e-4)


def test_what_looks_at_the_image_computes_in_8_bits_and_what_decodes_does_not(light, tiny_folder, tmp_path, blobs):
    parity = export(tiny_folder, tmp_path / "quick", images())
    assert (tmp_path / "quick/decode.onnx").read_bytes() == (light[0] / "decode.onnx").read_bytes()
    graph = onnx.load(tmp_path / "quick/encode.onnx").graph
    convolutions = {node.name: node for node in graph.node if node.op_type == "Conv"}
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    single = {name for name, node in convolutions.items() if not {*node.input[:2]} <= dequantised}
    parts = ("generator/stem/stem.0/", "generator/head", "project/project.2", "projection", "neck/conv2")
    assert sorted(single) == sorted(name for name in convolutions if any(part in name for part in parts))
    assert 0 < len(single) < len(convolutions) / 2
    assert (parity.images, parity.dice > 0.9) == (4, True)
    assert segment(blobs[0], load(tmp_path / "quick")).n_objects == 9


def test_of_onnx_alone_8_bits_are_made_once(light, tmp_path):
    with pytest.raises(ValueError, match="tiny is ONNX already"):
        export(light[0], tmp_path / "again")
    export(light[0], tmp_path / "quick", images())
    with pytest.raises(ValueError, match="1-int8 computes in 8 bits already"):
        export(tmp_path / "quick", tmp_path / "again", images())


def test_where_neither_finds_an_object_there_is_no_figure(student_folder, tmp_path):
    report = export(student_folder, tmp_path / "out", compare=[Image(np.zeros((1, 32, 32), np.float32))])
    assert (np.isnan(report.ap90), np.isnan(report.dice)) == (True, True)
    told = json.loads((tmp_path / "out/parity.json").read_text())
    assert (told["ap90"], told["dice"], told["images"]) == (None, None, 1)


def test_what_is_made_up_has_objects_for_the_model(tiny_folder):
    assert segment(made_up(load(tiny_folder).config), load(tiny_folder)).n_objects == SPOTS**2


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_images_are_refused(student_folder, tmp_path, n):
    with pytest.raises(ValueError, match="give 4 at least"):
        export(student_folder, tmp_path / "out", images(n))


def test_a_folder_that_holds_something_is_not_replaced(student_folder, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="choose another folder"):
        export(student_folder, tmp_path, images())
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("command", [["models", "export"], ["export", "--onnx"]])
def test_the_command_exports_students(student_folder, tmp_path, command):
    for number, image in enumerate(images()):
        PillowImage.fromarray(image.data[0]).save(tmp_path / f"{number}.png")
    told = [*command, str(student_folder), "-o", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, [*told, "--int8", "--calibrate", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == str(tmp_path / "out")
    assert "AP at IoU .9" in answer.stderr
    assert "on 4 images" in answer.stderr


def test_a_folder_without_images_calibrates_nothing(student_folder, tmp_path):
    (tmp_path / "none").mkdir()
    told = ["models", "export", str(student_folder), "-o", str(tmp_path / "out"), "--int8", "--calibrate"]
    answer = CliRunner().invoke(app, [*told, str(tmp_path / "none")])
    assert (answer.exit_code, "there is no image in" in answer.output) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_backbone_has_no_onnx(tmp_path):
    answer = CliRunner().invoke(app, ["models", "export", "sam_vit_b", "-o", str(tmp_path / "out")])
    assert (answer.exit_code, "sam_vit_b is a backbone, and has no ONNX" in answer.output) == (1, True)
