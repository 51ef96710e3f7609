from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from typer.testing import CliRunner

import scans
from made_up import scattered
from promptless.cli import app


@pytest.fixture
def folders(tmp_path, rng):
    """Folders of true and predicted labels of four images, the predictions as promptless names them."""
    truth, predicted = tmp_path / "truth", tmp_path / "predicted"
    truth.mkdir()
    predicted.mkdir()
    for i in range(4):
        labels = scattered((48, 48), (4, 7), 6, rng, gap=2).astype(np.uint16)
        PillowImage.fromarray(labels).save(truth / f"im{i}.png")
        tifffile.imwrite(predicted / f"im{i}_labels.tif", np.roll(labels, i // 2, 0), compression="zlib")
    return truth, predicted


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_a_table_of_the_default_rules(folders):
    answer = run(*folders)
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert lines[0] == "all (4 images), 95 % bootstrap intervals over images"
    assert lines[1].split() == ["stardist", "AP@0.50", "pooled", "1.000", "[1.000,", "1.000]"]
    assert {line.split()[0] for line in lines[1:-1]} == {"stardist", "msa", "aji+", "pixel"}
    assert answer.stderr == ""


def test_json_lines_can_be_parsed(folders):
    lines = [json.loads(line) for line in run(*folders, "--json", "--rules", "objects").stdout.splitlines()]
    names = {"group", "rule", "figure", "value", "low", "high", "n_images", "n_undefined", "class_name"}
    assert names == lines[0].keys()
    assert len({line["rule"] for line in lines}) == 13


def test_files_without_a_partner_are_named_and_the_exit_code_says_so(folders):
    (folders[1] / "im1_labels.tif").rename(folders[1] / "im9_labels.tif")
    answer = run(*folders)
    assert answer.exit_code == 3
    assert answer.stderr == (
        "truth without prediction, left out: im1.png\nprediction without truth, left out: im9_labels.tif\n"
    )
    assert answer.stdout.startswith("all (3 images)")
    assert run(*folders, "-q").stderr == ""


def test_nothing_paired_is_an_error(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = run(folders[0], tmp_path / "empty")
    assert answer.exit_code == 1
    assert "no true file has a prediction of the same stem" in answer.stderr


def test_categories_come_from_a_csv(folders, tmp_path):
    (tmp_path / "by.csv").write_text("name,category\nim0,still\nim1.png,still\nim2,moved\n")
    answer = run(*folders, "--by", tmp_path / "by.csv")
    heads = [line for line in answer.stdout.splitlines() if line and not line.startswith(" ")]
    assert [head.split(",")[0] for head in heads] == ["moved (1 image)", "still (2 images)", "all (4 images)"]
    (tmp_path / "by.csv").write_text("name,category\nim0_masks,still\nim1_masks.png,still\nim2,moved\n")
    other = run(*folders, "--by", tmp_path / "by.csv")
    assert other.stdout == answer.stdout
    assert "without a category in" in other.stderr
    assert "im3" in other.stderr
    (tmp_path / "by.csv").write_text("name,category\nelse,still\n")
    answer = run(*folders, "--by", tmp_path / "by.csv")
    assert answer.exit_code == 1
    assert "has no category for any of the 4 images, such as im0" in answer.stderr
    (tmp_path / "by.csv").write_text("name,kind\n")
    answer = run(*folders, "--by", tmp_path / "by.csv")
    assert answer.exit_code == 1
    assert "by.csv lacks the column category" in answer.stderr


def test_every_images_figures_go_to_a_csv(folders, tmp_path):
    (tmp_path / "by.csv").write_text("name,category\nim0,still\n")
    run(*folders, "--rules", "msa, pixel", "--csv", tmp_path / "new" / "out.csv", "--by", tmp_path / "by.csv")
    with (tmp_path / "new" / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * (3 + 4)
    known = {"name": "im0", "category": "still", "rule": "msa", "figure": "mSA", "class_name": "", "value": "1"}
    assert rows[0] == known


def test_two_predictions_are_compared(folders):
    answer = run(*folders, "--against", folders[0], "--rules", "pixel")
    rows = answer.stdout.split("\n\n")[1].splitlines()
    assert rows[0] == f"{folders[1]} less {folders[0]} (4 images in common), paired by image"
    assert all(float(line.split()[-3]) < 0 for line in rows[1:])
    lines = [json.loads(x) for x in run(*folders, "--against", folders[0], "--json").stdout.splitlines()]
    assert lines[-1]["against"] == str(folders[0])


def test_a_comparison_that_leaves_images_out_is_partial(folders, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    first = sorted(folders[1].iterdir())[0]
    (few / first.name).write_bytes(first.read_bytes())
    answer = run(*folders, "--against", few, "--rules", "pixel")
    assert answer.exit_code == 3
    assert "(1 images in common)" in answer.stdout
    nothing = run(*folders, "--against", tmp_path / "nowhere", "--rules", "pixel")
    assert (nothing.exit_code, nothing.stdout) == (1, "")


def test_a_plot(folders, tmp_path):
    pytest.importorskip("matplotlib")
    assert run(*folders, "--plot", tmp_path / "out.png").exit_code == 0
    assert PillowImage.open(tmp_path / "out.png").size > (300, 300)


def test_a_plot_without_matplotlib_fails_before_the_work(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    answer = run(*folders, "--plot", tmp_path / "out.png")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "pip install 'promptless[plots]'" in answer.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rules", "map"], "there is no rule 'map'; there are stardist"),
        (["--spacing", "wide"], "'wide' is not a size"),
        (["--nsd-tolerance", "-1"], "greater than or equal to 0"),
        (["--plot", "x.png", "--rules", "msa"], "add that to --rules"),
        (["-q", "-v"], "exclude each other"),
    ],
)
def test_wrong_usage_is_exit_code_2(folders, options, message):
    answer = run(*folders, *options)
    assert answer.exit_code == 2
    assert message in " ".join(answer.stderr.replace("│", " ").split())


def test_shapes_that_differ_are_told(folders):
    tifffile.imwrite(folders[1] / "im2_labels.tif", np.zeros((5, 6), np.uint8))
    answer = run(*folders)
    assert answer.exit_code == 1
    assert answer.stderr == "promptless: im2: the truth has shape (48, 48), the prediction (5, 6)\n"


def test_volumes_are_scored_by_class_in_mm(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[2:6, 2:8, 3:9], labels[6:9, 8:11, 9:13] = 1, 2
    for name, volume in (("truth", labels), ("predicted", np.roll(labels, 1, 2))):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / name / "a.nii.gz")
    answer = run(tmp_path / "truth", tmp_path / "predicted", "--nsd-tolerance", 3)
    assert answer.exit_code == 0, answer.output
    figures = {tuple(line.split()[:2]): line for line in answer.stdout.splitlines()[1:] if line}
    assert "NSD at 3 mm" in figures["deepmind", "NSD"]
    assert "1.000" in figures["deepmind", "NSD"]
    assert "3.000" in figures["deepmind", "HD95"]


@pytest.fixture
def volumes(tmp_path):
    """Folders of true and predicted labels of two scans, of which one lacks class 2 and none has class 3."""
    pytest.importorskip("nibabel")
    labels = np.zeros((14, 12, 10), np.uint8)
    labels[3:9, 2:8, 2:6], labels[9:13, 8:11, 6:9] = 1, 2
    for name, volume in (("truth", labels), ("predicted", np.roll(labels, 1, 0))):
        (tmp_path / name).mkdir()
        for scan, values in (("a", volume), ("b", np.where(volume == 1, 1, 0))):
            scans.nifti(tmp_path / name / f"{scan}.nii.gz", values.astype(np.uint8), np.diag([1.0, 1.0, 3.0, 1.0]))
    return tmp_path / "truth", tmp_path / "predicted"


def test_every_class_has_a_line_of_its_own_in_a_table(volumes, tmp_path):
    answer = run(*volumes, "--classes", "liver, spleen, brain", "--csv", tmp_path / "all.csv")
    assert answer.exit_code == 0, answer.output
    means, table, rest = answer.stdout.split("\n\n")
    assert [line.split()[:2] for line in means.splitlines()[1:3]] == [["nnunet", "Dice"], ["deepmind", "Dice"]]
    assert table.splitlines() == [
        "  class   nnunet Dice  deepmind Dice  deepmind NSD at 1 mm  deepmind HD95 mm  images",
        "  liver         0.833          0.833                 1.000             1.000       2",
        "  spleen        0.750          0.750                 1.000             1.000       1",
    ]
    assert rest == "in neither truth nor prediction of any image: brain\n"
    with (tmp_path / "all.csv").open() as file:
        rows = {(row["name"], row["figure"]): row for row in csv.DictReader(file) if row["rule"] == "deepmind"}
    assert rows["a", "Dice of spleen"]["class_name"] == "spleen"
    assert rows["a", "Dice of spleen"]["value"] == "0.75"
    assert rows["b", "Dice of spleen"]["value"] == ""
    lines = [json.loads(line) for line in run(*volumes, "--classes", "liver,spleen", "--json").stdout.splitlines()]
    assert {line["class_name"] for line in lines} == {"", "liver", "spleen"}


def test_a_label_beyond_the_named_classes_is_refused(volumes):
    answer = run(*volumes, "--classes", "liver")
    assert answer.exit_code == 1
    assert "there is a label 2 without a name (named: 1 liver)" in answer.stderr
    assert run(*volumes, "--classes", "liver,").exit_code == 2


def test_labels_on_another_grid_are_refused(volumes):
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[0, 3] = 7
    scans.nifti(volumes[1] / "a.nii.gz", np.ones((14, 12, 10), np.uint8), affine)
    answer = run(*volumes)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "a: the prediction lies on another grid than the truth: corners are up to 7 mm apart" in answer.stderr
