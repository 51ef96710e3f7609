"""Files as they are, through the command line: odd names, odd shapes, odd values, folders of folders."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from typer.testing import CliRunner

from made_up import discs, picture
from promptless.cli import app
from promptless.registry import fitting

DISCS = picture(discs((64, 72), [(16, 16, 8), (20, 50, 7), (46, 30, 9)]))


@pytest.fixture
def run(tiny_folder, tmp_path, monkeypatch):
    """Run a command with the tiny model; `segment` writes into OUT."""
    monkeypatch.setenv("PROMPTLESS_NUM_THREADS", "1")

    def command(verb, *arguments, out=tmp_path / "out"):
        output = ["-o", str(out)] if verb == "segment" else []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return CliRunner().invoke(app, [verb, *output, "--model", str(tiny_folder), *map(str, arguments)])

    return command


def manifest(path):
    return json.loads(path.read_text())["image"]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 1), np.uint8),
        np.arange(40, dtype=np.uint8)[None],
        np.arange(40, dtype=np.uint8)[:, None],
        np.full((3, 50_000), 7, np.uint8),
        np.full((64, 72), 200, np.uint8),
        np.full((64, 72), np.nan, np.float32),
        np.full((64, 72), np.inf, np.float64),
        np.where(DISCS > 100, np.inf, 0.0),
        np.where(DISCS > 100, np.nan, 0.0).astype(np.float32),
        np.where(DISCS > 100, 1.7e308, -1.7e308),
    ],
    ids=["1x1", "1xn", "nx1", "3x50000", "constant", "nan", "inf", "some-inf", "some-nan", "huge"],
)
def test_an_odd_image_is_segmented_without_a_warning(array, run, tmp_path):
    np.save(tmp_path / "odd.npy", array)
    answer = run("segment", tmp_path / "odd.npy")
    assert answer.exit_code == 0, answer.output
    assert tifffile.imread(tmp_path / "out" / "odd_labels.tif").size == array.size
    assert run("check", tmp_path / "odd.npy").exit_code == 0


@pytest.mark.parametrize("name", ["with a space.png", "Zellkern µ 核.png", "a'b\"c;.png", "%d.png"])
def test_any_name_of_a_file_will_do(name, run, tmp_path):
    PillowImage.fromarray(DISCS).save(tmp_path / name)
    answer = run("segment", tmp_path / name)
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "out" / f"{Path(name).stem}_labels.tif").exists()


def test_a_leading_dash_is_no_option_after_two_dashes_or_in_a_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-dash").mkdir()
    for path in (Path("-odd.png"), Path("-dash/-a.png")):
        PillowImage.fromarray(DISCS).save(path)
    answer = run("segment", "--", "-odd.png", "-dash")
    assert answer.exit_code == 0, answer.output
    assert sorted(p.name for p in Path("out").glob("*_labels.tif")) == ["-a_labels.tif", "-odd_labels.tif"]


def test_what_was_chosen_is_said_in_text_in_json_and_in_the_manifest(run, tmp_path):
    stack = np.stack([np.stack([DISCS, DISCS // 2])] * 3)
    metadata = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=metadata)
    refused = run("segment", tmp_path / "a.ome.tif")
    assert refused.exit_code == 1
    assert "--page 0 to 2" in refused.stderr
    assert "(0 DAPI, 1 GFP)" in run("segment", tmp_path / "a.ome.tif", "--page", 2).stderr
    answer = run("segment", tmp_path / "a.ome.tif", "--page", 2, "--channel", "gfp")
    assert "objects in page 2, channel 1 (GFP), " in answer.stdout
    told = manifest(tmp_path / "out" / "a.ome_manifest.json")
    assert (told["page"], told["channel"], told["channel_names"]) == (2, 1, ["DAPI", "GFP"])
    assert told["spacing"] == [0.5, 0.5]
    assert "area_um2" in (tmp_path / "out" / "a.ome_objects.csv").read_text().splitlines()[0]
    line = json.loads(
        run("segment", tmp_path / "a.ome.tif", "--page", 2, "--channel", 1, "--overwrite", "--json").stdout
    )
    assert (line["page"], line["channel"]) == (2, 1)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.dcm"])
def test_a_volume_is_an_error_that_says_which_models_fit(name, run, tmp_path):
    (tmp_path / name).write_bytes(bytes(400))
    answer = run("segment", tmp_path / name)
    assert answer.exit_code == 1
    assert f"models for volumes: {fitting(3)[0]} (" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.fixture
def nested(tmp_path):
    for name in ("a.png", "x/a.png", "x/y/b.png", "x/y/b.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(DISCS).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("x")
    return tmp_path / "in"


def test_folders_below_keep_their_places_and_an_output_folder_inside_is_not_read(run, nested):
    answer = run("segment", nested, "--recursive", out=nested / "out")
    assert answer.exit_code == 0, answer.output
    first, note = answer.stderr.splitlines()
    assert first == "4 segmented, 0 skipped, 0 failed; 1 file that is no image passed over"
    assert note.startswith("note: the pixel size of 4 images is not known")
    found = sorted(p.relative_to(nested / "out").as_posix() for p in (nested / "out").rglob("*_labels.tif"))
    assert found == ["a_labels.tif", "x/a_labels.tif", "x/y/b_jpg_labels.tif", "x/y/b_png_labels.tif"]
    again = run("segment", nested, "--recursive", out=nested / "out")
    assert again.stderr == "0 segmented, 4 skipped, 0 failed; 1 file that is no image passed over\n"


def test_an_image_in_a_folder_that_fails_does_not_stop_the_others(run, nested):
    (nested / "x" / "bad.tif").write_bytes(b"II*\0")
    answer = run("segment", nested, "--recursive", "--json")
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert answer.exit_code == 3
    assert [line["state"] for line in lines].count("done") == 4


def test_every_field_of_the_json_is_documented(run, nested):
    text = (Path(__file__).parent.parent / "docs" / "json.md").read_text()
    (nested / "bad.png").write_text("no")
    lines = [
        *run("segment", nested, "--json").stdout.splitlines(),
        *run("segment", nested, "--json").stdout.splitlines(),
    ]
    lines += run("check", nested, "--json").stdout.splitlines()
    for line in map(json.loads, lines):
        for field in (*line, *line.get("origin", {})):
            assert f"| `{field}` |" in text


def test_check_says_in_plain_words_what_would_happen(run, tmp_path):
    np.save(tmp_path / "a.npy", np.stack([DISCS] * 3))
    answer = run("check", tmp_path / "a.npy", "--channel", 1, "--mpp", 0.5)
    assert answer.exit_code == 0, answer.output
    for words in (
        "C=3, Y=64, X=72; channel 1 is read",
        "64 x 72 pixels, one channel, uint8",
        "0.5 x 0.5 um",
        "tiles  ",
    ):
        assert words in answer.stdout
    assert "trained on 6 to 24" in answer.stdout
    refused = run("check", tmp_path / "a.npy")
    assert refused.exit_code == 1
    assert "a.npy: would fail: " in refused.stdout
    assert not (tmp_path / "out").exists()
