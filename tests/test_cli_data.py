from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

import scans
from made_up import discs, picture
from promptless.cli import app
from promptless.data import prepared, volumes

LABELS = discs((30, 40), [(10, 10, 6), (18, 28, 8)])


def prepare(*arguments):
    return CliRunner().invoke(app, ["data", "prepare", *map(str, arguments)])


def add(folder, name, labels=LABELS):
    for kind, pixels in (("images", picture(LABELS)), ("masks", labels.astype(np.uint16))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(pixels).save(folder / kind / f"{name}.png")


@pytest.fixture
def source(tmp_path):
    for number in range(20):
        add(tmp_path / "in", f"im{number}")
    return tmp_path / "in"


def test_a_folder_becomes_what_training_reads(source, tmp_path):
    out = tmp_path / "deep" / "out"
    answer = prepare("folder", source, "-o", out, "--mpp", 0.4, "--category", "HE")
    assert answer.exit_code == 0, answer.output
    parts = json.loads((out / "split.json").read_text())
    assert answer.stdout == f"{out}: 20 images, " + ", ".join(f"{p} {len(n)}" for p, n in parts.items()) + "\n"
    (sample,) = prepared.read(out, ["im3"])
    assert np.array_equal(sample.labels, LABELS)
    assert (sample.category, sample.mpp) == ("HE", 0.4)


def test_one_image_is_for_training_and_the_rest_is_said_to_be_missing(tmp_path):
    add(tmp_path / "in", "only")
    answer = prepare("folder", tmp_path / "in", "-o", tmp_path / "out")
    assert answer.stdout == f"{tmp_path / 'out'}: 1 image, train 1, dev 0, test 0\n"
    assert "no image is for dev or test" in answer.stderr


def test_unpaired_files_are_an_error_or_left_out(source, tmp_path):
    (source / "masks" / "im3.png").unlink()
    answer = prepare("folder", source, "-o", tmp_path / "out")
    assert answer.exit_code == 1
    assert answer.stderr == "promptless: im3 has no masks; --skip-unpaired leaves them out\n"
    answer = prepare("folder", source, "-o", tmp_path / "out", "--skip-unpaired")
    assert answer.exit_code == 0
    assert "left out: im3 has no masks (1 in all)" in answer.stderr
    assert "19 images" in answer.stdout


def test_masks_of_another_size_are_one_line(source, tmp_path):
    add(source, "im3", LABELS[:20])
    answer = prepare("folder", source, "-o", tmp_path / "out")
    assert (answer.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert answer.stderr == (
        "promptless: im3: the image has 30 x 40 pixels but its labels have 20 x 40; they must agree\n"
    )


def test_classes_are_named_and_checked(source, tmp_path):
    (source / "classes").mkdir()
    (source / "classes" / "im3.csv").write_text("label,class\n1,1\n2,3\n")
    answer = prepare("folder", source, "-o", tmp_path / "out", "--classes", "flat, round")
    assert answer.exit_code == 1
    assert "im3: object 2 is of class 3" in answer.stderr
    answer = prepare("folder", source, "-o", tmp_path / "out", "--classes", "flat,round,odd")
    assert answer.exit_code == 0, answer.output
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["classes"] == {
        "1": "flat",
        "2": "round",
        "3": "odd",
    }
    (sample,) = prepared.read(tmp_path / "out", ["im3"])
    assert sample.classes == {1: 1, 2: 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imagenet"], "is none of"),
        (["glas", "--mpp", "0.5"], "it is for folder, not for glas"),
        (["folder", "--mpp", "0"], "0 is not a pixel size"),
        (["folder", "--classes", "a,,b"], "an empty one"),
        (["btcv", "--classes", "liver"], "it is for folder and totalsegmentator, not for btcv"),
        (["amos", "--channel", "1"], "it is for msd and nnunet, not for amos"),
        (["msd", "--modality", "mr"], "it is for amos, not for msd"),
        (["folder", "-q", "-v"], "exclude each other"),
    ],
)
def test_wrong_usage_is_told(source, tmp_path, arguments, message):
    answer = prepare(arguments[0], source, "-o", tmp_path / "out", *arguments[1:])
    assert answer.exit_code == 2
    assert message in " ".join(answer.stderr.replace("│", " ").split())


def test_what_is_read_is_never_replaced(source):
    for output in (source, source.parent):
        answer = prepare("folder", source, "-o", output, "--overwrite")
        assert answer.exit_code == 1
        assert "would replace what is read" in answer.stderr
    assert len(list((source / "images").iterdir())) == 20


def test_the_wrong_folder_is_told(source, tmp_path):
    for kind in ("dsb2018", "monuseg", "pannuke", "glas"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        answer = prepare(kind, tmp_path / "empty", "-o", tmp_path / "out")
        assert answer.exit_code == 1
        assert f"there are no images with masks for the set {kind}" in answer.stderr
    assert "is no folder" in prepare("glas", tmp_path / "nowhere", "-o", tmp_path / "out").stderr
    for kind in ("btcv", "ct_org", "totalsegmentator"):
        answer = prepare(kind, tmp_path / "empty", "-o", tmp_path / "out")
        assert f"there are no images with labels for the set {kind}" in answer.stderr
    for kind in ("amos", "msd", "nnunet"):
        assert "empty holds no dataset.json" in prepare(kind, tmp_path / "empty", "-o", tmp_path / "out").stderr


def test_scans_are_prepared_alike(tmp_path):
    home, out = tmp_path / "Training", tmp_path / "out"
    for number in ("0001", "0002", "0003", "0004"):
        scans.labelled(home / "img" / f"img{number}.nii.gz", home / "label" / f"label{number}.nii.gz", 13)
    (home / "label" / "label0003.nii.gz").unlink()
    empty = home / "label" / "label0004.nii.gz"
    scans.nifti(empty, np.zeros((4, 5, 6), np.uint8), scans.turned((0, 1, 2), (-1, -1, 1)))
    answer = prepare("btcv", home, "-o", out)
    assert answer.exit_code == 1
    assert answer.stderr == "promptless: img0003 has no labels; --skip-unpaired leaves them out\n"
    answer = prepare("btcv", home, "-o", out, "--skip-unpaired")
    assert answer.exit_code == 0, answer.output
    assert "left out: img0003 has no labels (1 in all)" in answer.stderr
    assert "nothing is labelled in img0004 (1 in all)" in answer.stderr
    assert answer.stdout.startswith(f"{out}: 3 images, ")
    parts = json.loads((out / "split.json").read_text())
    names = [name for part in parts.values() for name in part]
    assert sorted(sample.id for sample in volumes.read(out, names)) == ["img0001", "img0002", "img0004"]
    assert prepare("btcv", home, "-o", out, "--skip-unpaired", "--overwrite").exit_code == 0
    assert json.loads((out / "split.json").read_text()) == parts
