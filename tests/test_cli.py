from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from made_up import discs, picture
from promptless import __version__
from promptless.cli import app

UNSIZED = "note: the pixel size of {} is not known, so it was judged by eye; --mpp gives it\n"
SUFFIXES = ["_labels.tif", "_manifest.json", "_objects.csv", "_overlay.png", "_prompts.json"]


@pytest.fixture
def images(tmp_path):
    """A folder with two images of discs."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, shift in (("a", 0), ("b", 4)):
        labels = discs((64, 72), [(16, 16 + shift, 8), (20, 50, 7), (46, 30 + shift, 9)])
        PillowImage.fromarray(picture(labels)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(tiny_folder, tmp_path):
    """Run `promptless segment ... -o OUT --model tiny` in this process."""

    def segment(*arguments, model=tiny_folder, out=tmp_path / "out"):
        command = ["segment", *map(str, arguments), "-o", str(out), "--model", str(model), "--threads", "1"]
        return CliRunner().invoke(app, command)

    return segment


def outputs(folder, name):
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(name))


def in_a_process(*arguments, **options):
    command = [sys.executable, "-m", "promptless.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_folder_is_segmented(images, run, tmp_path):
    answer = run(images)
    assert answer.exit_code == 0, answer.output
    for name in "ab":
        assert outputs(tmp_path / "out", name) == [f"{name}.geojson", *(name + suffix for suffix in SUFFIXES)]
        labels = tifffile.imread(tmp_path / "out" / f"{name}_labels.tif")
        assert (labels.dtype, labels.shape) == (np.uint16, (64, 72))
        assert 1 <= labels.max() <= 3
    assert len(answer.stdout.splitlines()) == 2
    assert answer.stderr == "2 segmented, 0 skipped, 0 failed\n" + UNSIZED.format("2 images")


def test_results_go_to_stdout_and_name_the_overlay(images, run, tmp_path):
    answer = run(images / "a.png")
    assert answer.stdout.startswith("a.png: ")
    assert answer.stdout.endswith(f"objects, {tmp_path / 'out' / 'a_overlay.png'}\n")
    assert answer.stderr == UNSIZED.format("the image")
    assert run(images / "b.png", "--mpp", "0.5").stderr == ""
    assert run(images / "b.png", "-q", "--overwrite").stderr == ""


def test_json_lines_can_be_parsed(images, run, tmp_path):
    (images / "broken.png").write_text("no")
    lines = [json.loads(line) for line in run(images, "--json").stdout.splitlines()]
    assert [(line["name"], line["state"]) for line in lines] == [("a", "done"), ("b", "done"), ("broken", "failed")]
    assert lines[0]["n_objects"] >= 1
    assert set(lines[0]["outputs"]) == {"labels", "objects", "prompts", "geojson", "overlay", "manifest"}
    assert "broken.png is not a PNG image" in lines[2]["message"]
    assert [json.loads(line)["state"] for line in run(images, "--json").stdout.splitlines()] == [
        "skipped",
        "skipped",
        "failed",
    ]


def test_outputs_that_are_there_are_skipped_unless_overwriting(images, run, tmp_path):
    run(images)
    marked = tmp_path / "out" / "a_objects.csv"
    marked.write_text("mine")
    answer = run(images)
    assert answer.exit_code == 0
    assert answer.stdout.count("skipped") == 2
    assert marked.read_text() == "mine"
    assert run(images, "--overwrite").exit_code == 0
    assert marked.read_text() != "mine"


def test_one_bad_file_gives_3_and_the_others_are_done(images, run, tmp_path):
    (images / "aa.png").write_bytes((images / "a.png").read_bytes()[:60])
    answer = run(images)
    assert answer.exit_code == 3
    assert len(answer.stdout.splitlines()) == 2
    assert "aa.png: failed: " in answer.stderr
    assert "2 segmented, 0 skipped, 1 failed" in answer.stderr
    assert outputs(tmp_path / "out", "aa") == []


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_gives_1(images, run, device, tmp_path):
    answer = run(images, "--device", device)
    assert (answer.exit_code, 'use "auto" or "cpu"' in answer.stderr or "must be" in answer.stderr) == (1, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.png", "empty.png", "text.png", "text.tif", "notes.txt"])
def test_a_file_that_cannot_be_read_gives_1_and_one_clear_line(name, tmp_path, run):
    if name != "missing.png":
        (tmp_path / name).write_text("" if name == "empty.png" else "not an image")
    answer = run(tmp_path / name)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1
    assert name in answer.stderr


def test_a_folder_without_images_gives_1(tmp_path, run):
    (tmp_path / "nothing").mkdir()
    answer = run(tmp_path / "nothing")
    assert answer.exit_code == 1
    assert "there is no image in" in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mpp", "-1"],
        ["--mpp", "0"],
        ["--tile", "3"],
        ["--halo", "-1"],
        ["--min-score", "2"],
        ["--channel", "-1"],
        ["--x"],
    ],
)
def test_wrong_usage_gives_2(images, run, arguments):
    assert run(images, *arguments).exit_code == 2


def test_an_unknown_model_gives_1_and_lists_the_known_names(images, run):
    from promptless.registry import names

    answer = run(images, model="nucleii")
    assert answer.exit_code == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "no model 'nucleii'" in answer.stderr
    assert f"({', '.join(names()) or 'none'})" in answer.stderr


def test_a_changed_model_gives_1(images, run, tiny_folder, tmp_path):
    (tmp_path / "model").mkdir()
    for path in tiny_folder.iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes() + (b"x" if path.suffix == ".onnx" else b""))
    answer = run(images, model=tmp_path / "model")
    assert answer.exit_code == 1
    assert "sha256 differs" in answer.stderr


@pytest.mark.parametrize("below", ["", "sub"])
def test_an_output_that_cannot_be_written_gives_1(images, run, tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    answer = run(images, out=tmp_path / "file" / below)
    assert answer.exit_code == 1
    assert len(answer.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in answer.stderr


def test_an_image_without_a_nucleus_gives_an_empty_label_image_and_a_header(tmp_path, run):
    PillowImage.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "black.png")
    answer = run(tmp_path / "black.png", "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["n_objects"] == 0
    assert not tifffile.imread(tmp_path / "out" / "black_labels.tif").any()
    with (tmp_path / "out" / "black_objects.csv").open(newline="") as file:
        (header,) = csv.reader(file)
    assert header[0] == "label"
    assert header[-3:] == ["score", "stability", "tile_border"]


def test_options_reach_the_run(images, run, tmp_path):
    answer = run(images / "a.png", "--mpp", "0.4", "--min-score", "0", "--tile", "64", "--halo", "16", "--channel", "0")
    assert answer.exit_code == 0, answer.output
    arguments = json.loads((tmp_path / "out" / "a_manifest.json").read_text())["arguments"]
    assert arguments == {"channel": 0, "page": None, "mpp": 0.4, "min_score": 0, "tile": 64, "halo": 16}
    with (tmp_path / "out" / "a_objects.csv").open(newline="") as file:
        assert "area_um2" in next(csv.reader(file))


def test_quiet_leaves_the_summary_out(images, run):
    assert run(images, "-q").stderr == ""


def test_a_wrong_number_of_threads_in_the_environment_is_one_clear_line(images, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTLESS_NUM_THREADS", "many")
    command = ["segment", str(images), "-o", str(tmp_path / "out"), "--model", str(tiny_folder)]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code in (1, 2)
    assert type(answer.exception) is SystemExit
    assert "PROMPTLESS_NUM_THREADS" in answer.stderr


def test_verbose_shows_the_traceback(images, run):
    answer = run(images, "-v", model="nucleii")
    assert type(answer.exception) is FileNotFoundError


def test_the_version_is_printed():
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.stdout) == (0, f"promptless {__version__}\n")


def test_training_without_data_gives_1_and_says_what_to_set(tmp_path, monkeypatch):
    from test_train_recipes import TINY

    monkeypatch.delenv("PROMPTLESS_DATA", raising=False)
    (tmp_path / "tiny.toml").write_text(TINY)
    answer = CliRunner().invoke(app, ["train", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / "run")])
    assert answer.exit_code == 1
    assert "set PROMPTLESS_DATA" in answer.stderr


def test_help_lists_the_commands_and_imports_nothing_heavy():
    code = """
import sys
from promptless.cli import app
try:
    app(["--help"])
except SystemExit as end:
    heavy = [m for m in ("numpy", "scipy", "torch", "onnxruntime", "skimage", "PIL") if m in sys.modules]
    print(end.code, heavy)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "segment" in answer.stdout
    assert "train" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "0 []"


def test_in_a_process_of_its_own_the_codes_are_the_same(images, tiny_folder, tmp_path):
    shared = ["-o", tmp_path / "out", "--model", tiny_folder, "--threads", "1"]
    (images / "bad.png").write_text("no")
    some = in_a_process("segment", images, *shared)
    usage = in_a_process("segment", images)
    assert (some.returncode, usage.returncode) == (3, 2)
    assert "Traceback" not in some.stderr + usage.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_interrupting_a_batch_gives_130_and_leaves_no_half_written_file(images, tiny_folder, tmp_path):
    content = (images / "a.png").read_bytes()
    for i in range(150):
        (images / f"c{i:03}.png").write_bytes(content)
    command = [
        sys.executable,
        "-m",
        "promptless.cli",
        "segment",
        images,
        "-o",
        tmp_path / "out",
        "--model",
        tiny_folder,
    ]
    process = subprocess.Popen(
        [*map(str, command), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell may ignore it
    )
    try:
        process.stdout.readline()  # the first image is done
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    done = {p.name.removesuffix("_manifest.json") for p in (tmp_path / "out").glob("*_manifest.json")}
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert 1 <= len(done) < 152
    assert not list((tmp_path / "out").glob(".*"))
    for name in done:
        assert all((tmp_path / "out" / (name + suffix)).stat().st_size for suffix in [*SUFFIXES, ".geojson"])
    for path in (tmp_path / "out").glob("*_labels.tif"):
        assert tifffile.imread(path).shape == (64, 72)


def test_more_outputs_come_on_request(images, run, tmp_path):
    answer = run(images / "a.png", "--also", "roi,coco", "--also", "classes", "--overlay", "prompts", "--json")
    assert answer.exit_code == 0, answer.output
    assert {"roi", "coco", "classes", "manifest"} <= set(json.loads(answer.stdout)["outputs"])
    assert {"a_rois.zip", "a_coco.json", "a_classes.tif"} <= set(outputs(tmp_path / "out", "a"))
    assert "skipped" in run(images / "a.png", "--also", "coco,roi,classes", "--overlay", "prompts").stdout
    assert "skipped" in run(images / "a.png").stdout  # all that is asked for is there
    assert "differ in: parquet; --overwrite" in run(images / "a.png", "--also", "parquet").stderr
    assert "differ in: overlay; --overwrite" in run(images / "a.png", "--overlay", "outlines").stderr


@pytest.mark.parametrize(("option", "known"), [("--also", "roi, coco"), ("--overlay", "outlines, prompts")])
def test_an_unknown_output_gives_2_and_lists_the_known_ones(images, run, tmp_path, option, known):
    answer = run(images, option, "svg")
    assert answer.exit_code == 2
    assert "'svg' is none of" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_told_before_segmenting(images, run, tmp_path, monkeypatch):
    monkeypatch.setattr("promptless.io.outputs.find_spec", lambda name: None)
    answer = run(images, "--also", "roi")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == "promptless: roi needs roifile: pip install 'promptless[formats]'\n"
    assert not list((tmp_path / "out").iterdir())


def commands(command, name="promptless"):
    yield name, command
    for inner, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {inner}")


@pytest.mark.parametrize(("name", "command"), list(commands(get_command(app))))
def test_no_help_text_is_taken_for_markup(name, command):
    texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
    for text in texts:
        assert Text.from_markup(text).plain.count("[") == text.count("["), f"{name}: escape the bracket in {text!r}"
