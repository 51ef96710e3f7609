from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from promptless.io.atomic import alone, replacing, replacing_folder


def test_the_file_appears_when_the_block_succeeds(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from promptless.io.atomic import alone\n"
        "with alone(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(0.5)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        began = time.monotonic()
        with alone(tmp_path):
            assert other.poll() is not None or time.monotonic() - began > 0.2


def test_a_killed_process_lets_go(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from promptless.io.atomic import alone\n"
        "with alone(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        other.kill()
        with alone(tmp_path):
            pass


def folders(path):
    return {str(p.relative_to(path)) for p in path.rglob("*")}


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with replacing_folder(tmp_path / "a") as made:
        (made / "new").touch()
        assert (tmp_path / "a" / "old").exists()
    assert folders(tmp_path) == {"a", "a/new"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["in the block", "at the end"])
def test_a_failure_leaves_the_old_folder_and_no_other(tmp_path, monkeypatch, error, when):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    rename = Path.rename

    def failing(path, target):
        if path.name == "made":
            raise error
        return rename(path, target)

    def fail():
        with replacing_folder(tmp_path / "a") as made:
            (made / "half").touch()
            if when == "in the block":
                raise error
            monkeypatch.setattr(Path, "rename", failing)

    with pytest.raises(error):
        fail()
    assert folders(tmp_path) == {"a", "a/old"}
