"""What happens to a user's files when a process is killed, the disk is full, or two processes meet."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from made_up import discs, picture

PLACES = [(y, x, 9) for y in range(20, 240, 40) for x in range(20, 240, 40)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with three images of discs."""
    folder = tmp_path_factory.mktemp("in")
    for name, shift in (("a", 0), ("b", 3), ("c", 6)):
        labels = discs((256, 256), [(y + shift, x, r) for y, x, r in PLACES])
        PillowImage.fromarray(picture(labels)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def command(images, tiny_folder):
    """The command line that segments them, but for the output folder."""
    words = ["-m", "promptless.cli", "segment", images, "--model", tiny_folder, "--threads", "1", "-o"]
    return [sys.executable, *map(str, words)]


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    """What the command writes when nothing happens to it."""
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*command, out], check=True, capture_output=True)
    return content(out)


def content(folder):
    """Return every file's bytes by name, manifests without the seconds they took."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name in [name for name in found if name.endswith("_manifest.json")]:
        record = json.loads(found[name])
        record.pop("seconds")
        found[name] = json.dumps(record)
    return found


def vouched(folder):
    """Return the names of images whose manifest is there, after checking that all it names are whole."""
    names = [path.name.removesuffix("_manifest.json") for path in folder.glob("*_manifest.json")]
    for name in names:
        written = json.loads((folder / f"{name}_manifest.json").read_text())["outputs"]
        assert all((folder / entry["file"]).is_file() for entry in written.values())
    return names


@pytest.mark.parametrize("sight", [".a.staging-*", "a_labels.tif", ".b.staging-*", "b_overlay.png", "c_labels.tif"])
def test_a_killed_command_can_be_repeated(command, undisturbed, tmp_path, sight):
    with subprocess.Popen([*command, tmp_path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not list(tmp_path.glob(sight)):
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
    half = content(tmp_path)
    assert all(half[name] == undisturbed[name] for name in half)
    assert {f"{name}_labels.tif" for name in vouched(tmp_path)} <= half.keys()
    again = subprocess.run([*command, tmp_path], check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert content(tmp_path) == undisturbed
    assert not list(tmp_path.glob(".*/*"))


def test_two_processes_that_write_one_output_leave_it_whole(command, undisturbed, tmp_path):
    running = [subprocess.Popen([*command, tmp_path, "--overwrite"], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert content(tmp_path) == undisturbed


def test_two_processes_with_other_settings_never_mix(command, images, tmp_path):
    one = [*command, tmp_path, "--overwrite"]
    running = [subprocess.Popen([*one, *more], stdout=subprocess.DEVNULL) for more in ([], ["--min-score", "1"])]
    assert [process.wait() for process in running] == [0, 0]
    for name in vouched(tmp_path):
        record = json.loads((tmp_path / f"{name}_manifest.json").read_text())
        nothing = record["arguments"]["min_score"] == 1
        prompts = json.loads((tmp_path / f"{name}_prompts.json").read_text())["prompts"]
        assert bool(tifffile.imread(tmp_path / f"{name}_labels.tif").any()) is not nothing
        assert bool(prompts) is not nothing


def limit_file_size():
    """Let no file of this process grow beyond 12 kB, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))


def test_a_full_disk_is_one_line_and_loses_nothing(command, undisturbed, images, tmp_path):
    subprocess.run([*command, tmp_path], check=True, capture_output=True)
    rng = np.random.default_rng(0)
    PillowImage.fromarray(rng.integers(0, 255, (256, 256), np.uint8)).save(tmp_path / "noise.png")
    words = [*command, tmp_path, "--overwrite"]
    full = subprocess.run(words, check=False, capture_output=True, text=True, preexec_fn=limit_file_size)
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert full.stderr.count("failed: ") == 3
    (tmp_path / "noise.png").unlink()
    assert content(tmp_path) == undisturbed
