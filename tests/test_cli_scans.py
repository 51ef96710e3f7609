"""Scans through the command line: good ones, bad ones, batches of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import HTJ2KLossless
from typer.testing import CliRunner

import scans as made
from promptless.cli import app
from voxel_models import Hungry, NullVoxelModel, PointedNull, PromptedNull

DATA = os.environ.get("PROMPTLESS_DATA")
ALWAYS = {"labels.nii.gz", "labels.json", "volumes.csv", "overlay.png", "manifest.json"}
LEVELS = np.zeros((9, 10, 11), np.int16)
LEVELS[1:4, 2:8, 3:5], LEVELS[5:8, 1:3, 6:10] = 100, 200


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command with a model on volumes; `segment` writes into OUT."""
    monkeypatch.setenv("PROMPTLESS_NUM_THREADS", "1")

    def command(verb, *arguments, model=None, out=tmp_path / "out"):
        monkeypatch.setattr("promptless.loading.load", lambda name, **_: model or NullVoxelModel())
        output = ["-o", str(out)] if verb == "segment" else []
        return CliRunner().invoke(app, [verb, *output, "--model", "null_volume", *map(str, arguments)])

    return command


@pytest.fixture
def scan(tmp_path):
    return made.nifti(tmp_path / "scan.nii.gz", LEVELS, made.ORIENTATIONS[6])


@pytest.fixture
def click(run, scan, tmp_path):
    """Segment the scan with a model that can be clicked at, and return the labels, (k, j, i), and the answer."""

    def command(*arguments, model=None):
        answer = run("segment", scan, *arguments, model=model or PointedNull())
        path = tmp_path / "out" / "scan_labels.nii.gz"
        return np.asanyarray(nibabel.load(path).dataobj).T if path.is_file() else None, answer

    return command


def points_file(folder, *points, **head):
    path = folder / "clicks.json"
    path.write_text(json.dumps({**head, "points": [{"point": at, "class": of} for at, of in points]}))
    return path


@pytest.fixture
def series(tmp_path, rng):
    return made.series(tmp_path / "series", rng.integers(0, 4096, (5, 6, 7)).astype(np.uint16))


def written(folder, name="scan"):
    return {path.name.removeprefix(f"{name}_") for path in folder.glob(f"{name}_*")} if folder.is_dir() else set()


def test_a_nifti_file_gives_labels_on_its_own_grid(run, scan, tmp_path):
    answer = run("segment", scan)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == f"scan.nii.gz: 2 structures, {tmp_path / 'out' / 'scan_overlay.png'}\n"
    assert written(tmp_path / "out") == ALWAYS
    labels = nibabel.load(tmp_path / "out" / "scan_labels.nii.gz")
    assert np.array_equal(np.asanyarray(labels.dataobj), LEVELS // 100)
    assert np.array_equal(labels.affine, nibabel.load(scan).affine)


def test_a_series_as_folder_and_as_zip_gives_the_same_and_a_seg(run, series, tmp_path):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in series.iterdir():
            packed.write(path, path.name)
    answer = run("segment", series, archive)
    assert answer.exit_code == 0, answer.output
    out = tmp_path / "out"
    for name in ("series", "archive"):
        assert written(out, name) == ALWAYS | {"seg.dcm"}
    assert (out / "series_labels.nii.gz").read_bytes() == (out / "archive_labels.nii.gz").read_bytes()


def test_more_outputs_come_on_request(run, scan, tmp_path):
    answer = run("segment", scan, "--save-probabilities", "--save-prompt", model=PromptedNull())
    assert answer.exit_code == 0, answer.output
    assert written(tmp_path / "out") == ALWAYS | {"probabilities.nii.gz", "prompt.png"}
    assert "has no dense prompt" in run("segment", scan, "--save-prompt", "--overwrite").stderr
    assert written(tmp_path / "out") == ALWAYS | {"probabilities.nii.gz", "prompt.png"}


def test_what_is_there_is_skipped_and_other_options_are_told(run, scan, series, tmp_path):
    assert run("segment", scan, series).exit_code == 0
    again = run("segment", scan, series)
    assert again.stdout.count(": skipped, ") == 2
    assert json.loads(run("segment", scan, "--overwrite", "--json").stdout)["state"] == "done"
    other = run("segment", scan, "--flips")
    assert (other.exit_code, "differ in: flips (None before, True now); --overwrite" in other.stderr) == (1, True)
    assert "differ in: probabilities" in run("segment", scan, "--save-probabilities").stderr
    one = next(series.iterdir())
    changed = pydicom.dcmread(one)
    changed.PatientID = "2"
    changed.save_as(one)
    assert "differ in: image" in run("segment", series).stderr


def test_a_batch_goes_on_after_one_that_fails(run, scan, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(scan, tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(scan.read_bytes()[:-40])
    answer = run("segment", tmp_path / "in")
    assert answer.exit_code == 3
    assert "1 segmented, 0 skipped, 1 failed" in answer.stderr
    assert written(tmp_path / "out", "good") == ALWAYS
    assert written(tmp_path / "out", "bad") == set()
    lines = [json.loads(line) for line in run("segment", tmp_path / "in", "--json").stdout.splitlines()]
    assert [(line["name"], line["state"]) for line in lines] == [("bad", "failed"), ("good", "skipped")]


def test_interrupting_gives_130_and_leaves_nothing_half_written(run, scan, tmp_path):
    class Interrupted(NullVoxelModel):
        def logits(self, crops):
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().logits(crops)

    answer = run("segment", scan, model=Interrupted(crop=(4, 4, 4)))
    assert (answer.exit_code, answer.stderr) == (130, "interrupted; what was finished is kept, and skipped next time\n")
    assert list((tmp_path / "out").iterdir()) == []
    assert run("segment", scan).exit_code == 0


def test_one_of_several_series_and_frames_is_chosen(run, series, tmp_path, rng):
    values = rng.integers(0, 4096, (4, 6, 7)).astype(np.uint16)
    made.series(series / "more", values, series="2", name="abdomen")
    refused = run("segment", series)
    assert refused.exit_code == 1
    assert (
        "holds 2 series, and a scan is one; choose it by name or UID (--series, or series=): chest (5 files"
        in refused.stderr
    )
    assert run("segment", series, "--series", "abdomen").exit_code == 0
    assert nibabel.load(tmp_path / "out" / "series_labels.nii.gz").shape == (7, 6, 4)
    assert (
        pydicom.dcmread(tmp_path / "out" / "series_seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID[-2:] == ".2"
    )
    four = made.nifti(tmp_path / "four.nii", np.stack([0 * LEVELS, LEVELS], axis=-1), np.eye(4))
    assert "choose it by its number, 0 to 1 (--frame, or frame=)" in run("segment", four).stderr
    answer = run("segment", four, "--frame", 1)
    assert "2 structures in page 1" in answer.stdout


def test_what_was_assumed_is_told(run, tmp_path):
    untold = made.nifti(tmp_path / "untold.nii", LEVELS, np.eye(4), unit=0)
    assert "(the file names no unit; mm is assumed)" in run("segment", untold).stdout


@pytest.mark.parametrize(
    "option",
    [
        *(["--mpp", 1], ["--page", 0], ["--channel", 0], ["--min-score", 0.5], ["--halo", 8], ["--keep-embedding"]),
        *(["--prompts", "x.json"], ["--also", "roi"], ["--overlay", "prompts"]),
    ],
    ids=lambda option: option[0],
)
def test_options_for_planes_are_refused(option, run, scan, tmp_path):
    answer = run("segment", scan, *option)
    assert answer.exit_code == 2
    assert option[0] in answer.stderr
    assert "null_volume is for scans" in " ".join(answer.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option", [["--series", "x"], ["--frame", 0], ["--flips"], ["--save-probabilities"], ["--points", "x"]]
)
def test_options_for_scans_are_refused_by_models_for_planes(option, run, null_model, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 20), np.uint8))
    answer = run("segment", tmp_path / "a.npy", *option, model=null_model)
    assert answer.exit_code == 2
    assert "null is for planes" in " ".join(answer.stderr.replace("│", " ").split())


def test_scans_without_a_model_for_them_say_where_to_get_one(run, scan, series, null_model, tmp_path):
    for path in (scan, series, tmp_path / "gone.zip"):
        answer = run("segment", path, model=null_model)
        assert answer.exit_code == 1
        assert "null is for planes; models for volumes: " in answer.stderr
        assert "--model FOLDER" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    np.save(tmp_path / "a.npy", np.zeros((20, 20), np.uint8))
    mixed = run("segment", tmp_path / "a.npy", scan, model=null_model)
    assert mixed.exit_code == 3
    assert "scan.nii.gz holds a scan, and this model is for planes; models for volumes: " in mixed.stderr


def test_a_click_says_what_is_where_in_the_file(click, scan, tmp_path):
    plain, _ = click()
    clicks = points_file(tmp_path, ([9, 8, 2], "bright"), ([2, 3, 1], 0))
    labels, answer = click("--points", clicks)
    assert answer.exit_code == 0, answer.output
    assert "2 structures (2 points of yours), " in answer.stdout
    assert (labels[9, 8, 2], labels[2, 3, 1], plain[9, 8, 2]) == (2, 0, 0)
    manifest = json.loads((tmp_path / "out" / "scan_manifest.json").read_text())
    told = [{"point": [9.0, 8.0, 2.0], "class": "bright"}, {"point": [2.0, 3.0, 1.0], "class": "background"}]
    assert manifest["points"] == told
    affine = nibabel.load(scan).affine
    in_mm = [((affine @ [*reversed(at), 1])[:3].tolist(), of) for at, of in (([9, 8, 2], 2), ([2, 3, 1], 0))]
    same, _ = click("--points", points_file(tmp_path, *in_mm, space="mm"))
    assert np.array_equal(same, labels)


def test_clicks_join_earlier_ones_unless_a_file_has_all(click, tmp_path):
    click("--save-probabilities")
    click("--point", "9,8,2=bright")
    both, answer = click("--point", "1,8,7=dim", "--negative", "2,3,1")
    assert "3 points of yours" in answer.stdout
    assert (both[9, 8, 2], both[1, 8, 7], both[2, 3, 1]) == (2, 1, 0)
    assert written(tmp_path / "out") == ALWAYS | {"probabilities.nii.gz"}  # what there was is written again
    _, again = click("--save-probabilities")
    assert ": skipped, " in again.stdout
    alone, _ = click("--points", points_file(tmp_path, ([1, 8, 7], "dim")))
    assert (alone[9, 8, 2], alone[1, 8, 7]) == (0, 1)
    anew, _ = click("--point", "9,8,2=bright", "--overwrite")
    assert (anew[9, 8, 2], anew[1, 8, 7]) == (2, 0)
    _, other = click("--point", "9,8,2=bright", "--flips")
    assert "differ in: flips (None before, True now); --overwrite" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--point", "9,8,2=brihgt"], 1, "has the class 'brihgt', which the model does not tell; did you mean bright?"),
        (["--point", "99,8,2=dim"], 1, "outside of the scan, which has its voxels at 0 to 10, 0 to 9, 0 to 8"),
        (["--point", "9,8,2"], 2, "names no class; write it as Z,Y,X=CLASS"),
        (["--point", "8,2=dim"], 2, "is not a position; write it as Z,Y,X"),
        (["--negative", "8,2"], 2, "is not a position; write it as Z,Y,X"),
        (["--points", "gone.json"], 1, "there is no file of points gone.json"),
    ],
)
def test_a_click_that_makes_no_sense_changes_nothing(click, tmp_path, arguments, code, message):
    click()
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    _, answer = click(*arguments)
    assert answer.exit_code == code
    assert message in " ".join(answer.stderr.replace("│", " ").split())
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_points_are_of_one_scan(click, run, scan, tmp_path):
    other = points_file(tmp_path, ([1, 1, 1], 1), image="0" * 64)
    assert "is for another scan" in click("--points", other)[1].stderr
    own = points_file(tmp_path, ([1, 1, 1], 1), image=hashlib.sha256(scan.read_bytes()).hexdigest())
    assert click("--points", own)[1].exit_code == 0
    shutil.copy(scan, tmp_path / "more.nii.gz")
    answer = run("segment", scan, tmp_path / "more.nii.gz", "--points", other, model=PointedNull())
    assert (answer.exit_code, "it speaks of one image" in answer.stderr) == (2, True)


def test_a_model_that_nobody_can_click_at_says_so(click, tmp_path):
    _, answer = click("--point", "1,1,1=dim", model=PromptedNull())
    assert answer.exit_code == 1
    assert "null_volume takes no points: it was trained without clicks" in answer.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_planes_are_refused_by_a_model_for_scans(run, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 20), np.uint8))
    answer = run("segment", tmp_path / "a.npy")
    assert answer.exit_code == 1
    assert "is an image of planes, and null_volume is for scans (NIfTI, DICOM); take a model for planes: nuclei" in (
        answer.stderr
    )
    (tmp_path / "empty").mkdir()
    assert "there is no scan in" in run("segment", tmp_path / "empty").stderr


def one_slice(folder):
    return made.nifti(folder / "bad.nii.gz", LEVELS[..., :1], np.eye(4))


def flat(size):
    def make(folder):
        pixdim = np.array([1, 1, size, 1, 0, 0, 0, 0], np.float32)
        return made.nifti(folder / "bad.nii.gz", LEVELS, np.eye(4), pixdim=pixdim)

    return make


def sheared(folder):
    affine = np.eye(4)
    affine[0, 1] = 0.2
    return made.nifti(folder / "bad.nii.gz", LEVELS, affine, qform=0)


def singular(folder):
    return made.nifti(folder / "bad.nii.gz", LEVELS, np.eye(4), srow_x=np.zeros(4, np.float32))


def with_nan(folder):
    values = LEVELS.astype(np.float32)
    values[1, 2, 3] = np.nan
    return made.nifti(folder / "bad.nii.gz", values, np.eye(4))


def cut_short(folder):
    path = made.nifti(folder / "bad.nii.gz", LEVELS, np.eye(4))
    path.write_bytes(path.read_bytes()[:-30])
    return path


def of_slices(folder, n=5):
    return made.series(folder / "bad", np.zeros((n, 6, 7), np.uint16))


def unreadable(folder):
    path = of_slices(folder)
    (path / "002.dcm").write_bytes((path / "002.dcm").read_bytes()[:300])
    return path


def without_codec(folder):
    path = of_slices(folder)
    one = made.encoded(pydicom.dcmread(path / "002.dcm"), b"\xff\x4f\xff\xd9", HTJ2KLossless)
    one.save_as(path / "002.dcm")
    return path


def missing(folder):
    path = of_slices(folder)
    (path / "002.dcm").unlink()
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (one_slice, "a volume has at least 2 along each of three axes; save a single slice as TIFF or PNG"),
        (flat(0), "has voxels of the size (1, 0, 1), and each must be above 0; correct pixdim"),
        (flat(-2), "has voxels of the size (1, -2, 1), and each must be above 0; correct pixdim"),
        (sheared, "has a sheared affine"),
        (singular, "has a singular affine"),
        (with_nan, "has 1 voxels that are NaN or infinite, the first at (1, 2, 3)"),
        (cut_short, "it may be damaged or cut short"),
        (lambda folder: of_slices(folder, 1), "holds one slice of a series"),
        (unreadable, "has 002.dcm, which cannot be read"),
        (without_codec, "has 002.dcm, compressed as High-Throughput JPEG 2000"),
        (missing, "lacks about 1 slices"),
    ],
    ids=[
        "one-slice",
        "zero",
        "negative",
        "sheared",
        "singular",
        "nan",
        "cut",
        "slice",
        "unreadable",
        "codec",
        "missing",
    ],
)
def test_a_bad_scan_is_one_clear_line_and_nothing_is_written(make, message, run, tmp_path):
    path = make(tmp_path)
    answer = run("segment", path)
    assert answer.exit_code == 1, answer.output
    assert len(answer.stderr.splitlines()) == 1
    assert message in answer.stderr
    assert list((tmp_path / "out").iterdir()) == []
    told = run("check", path)
    assert (told.exit_code, message in told.stdout) == (1, True)


def test_a_crop_larger_than_memory_offers_one_that_fits(run, scan, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "1.5")
    model = Hungry(600, crop=(128, 128, 128))
    answer = run("segment", scan, model=model)
    assert answer.exit_code == 1
    assert "crops of 128 x 128 x 128 voxels" in answer.stderr
    assert answer.stderr.rstrip().endswith("--tile 96")
    assert "--tile 96" in run("check", scan, model=model).stdout
    assert run("segment", scan, "--tile", 96, model=model).exit_code == 0


def test_a_whole_head_is_refused_by_a_model_for_boxes(run, scan, tmp_path):
    answer = run("segment", scan, model=NullVoxelModel(extent=(10.0, 10.0, 10.0)))
    assert answer.exit_code == 1
    assert "was made for boxes of at most 10 x 10 x 10 mm" in answer.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_outputs_do_not_go_into_the_folder_that_is_read(run, series):
    answer = run("segment", series, out=series / "out")
    assert answer.exit_code == 1
    assert "would lie in the folder that is read" in answer.stderr


def test_check_says_in_plain_words_what_would_happen(run, scan, series, tmp_path):
    answer = run("check", scan, "--flips", model=NullVoxelModel(spacing=(1.0, 1.0, 1.0)))
    assert answer.exit_code == 0, answer.output
    for words in (
        "voxels (z, y, x), int16",
        "mm; the scan spans ",
        "2: dim, bright",
        "crops of 8 x 8 x 8",
        "resampled to",
    ):
        assert words in answer.stdout
    assert "in 8 mirrored views" in answer.stdout
    axes = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}
    runs = ", ".join(axes[code] for code in nibabel.aff2axcodes(nibabel.load(scan).affine))
    assert f"its axes run {runs}" in answer.stdout
    assert "taken as it is" in run("check", series).stdout
    assert not (tmp_path / "out").exists()


def test_every_field_of_the_json_is_documented(run, scan):
    text = (Path(__file__).parent.parent / "docs" / "json.md").read_text()
    lines = [*run("segment", scan, "--json").stdout.splitlines(), *run("check", scan, "--json").stdout.splitlines()]
    assert len(lines) == 2
    for line in map(json.loads, lines):
        for field in (*line, *line.get("origin", {})):
            assert f"| `{field}` |" in text


@pytest.mark.skipif(DATA is None, reason="PROMPTLESS_DATA is not set; it names the folder that holds ct_dicom/")
def test_labels_of_the_real_series_lie_on_its_grid(run, tmp_path):
    truth = Path(DATA) / "ct_dicom"
    if not truth.is_dir():
        pytest.skip("PROMPTLESS_DATA has no ct_dicom")
    model = NullVoxelModel(crop=(16, 96, 96), spacing=(5.0, 4.0, 4.0))
    assert run("segment", truth / "series", model=model).exit_code == 0
    labels, expected = (nibabel.load(p) for p in (tmp_path / "out" / "series_labels.nii.gz", truth / "labels.nii.gz"))
    assert labels.shape == expected.shape
    assert sorted(np.abs(labels.affine[:3, :3]).max(axis=0)) == pytest.approx(
        sorted(np.abs(expected.affine[:3, :3]).max(axis=0)), rel=1e-3
    )
