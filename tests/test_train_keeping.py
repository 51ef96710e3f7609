from __future__ import annotations

import pytest

from promptless.config import ModelConfig
from promptless.train.keeping import CANDIDATE, REFUSED, RUN, finished, install, put


def model(folder, *files):
    """Write a model without weights: each file has the name of its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ModelConfig(folder.name, "1", "CC0-1.0", files=dict.fromkeys(files, "1")).write(folder / "config.json")
    for name in files:
        (folder / name).write_text(folder.name)


@pytest.fixture
def place(tmp_path):
    """A folder with a model, and a candidate for its place."""
    folder = tmp_path / "old"
    model(folder, "both", "gone")
    model(folder / RUN / CANDIDATE, "both", "more")
    (folder / RUN / CANDIDATE / "README.md").write_text(CANDIDATE)
    return folder


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix != ".json"}


def test_what_is_put_in_its_place_leaves_nothing_of_what_was_there(place):
    assert put(place, None) == (place, None)
    assert content(place) == dict.fromkeys(("both", "more", "README.md"), CANDIDATE)
    assert ModelConfig.read(place / "config.json").name == CANDIDATE
    assert not (place / RUN / CANDIDATE).exists()


def test_what_is_refused_lies_aside(place):
    before = content(place)
    (place / RUN / REFUSED).mkdir()
    lies, why = put(place, "it is worse")
    assert (lies, content(place)) == (place / RUN / REFUSED, before)
    assert why == f"it is worse; the new one is kept in {lies}, --resume --force takes it"
    assert content(lies) == dict.fromkeys(("both", "more", "README.md"), CANDIDATE)


def test_what_is_put_in_its_place_by_halves_is_none(place):
    (place / RUN / CANDIDATE / "both").unlink()
    with pytest.raises(FileNotFoundError):
        install(place / RUN / CANDIDATE, place)
    assert not (place / "config.json").exists()


def test_a_training_is_finished_once_it_is_measured_and_moved(place):
    assert not finished(place / RUN)
    (place / RUN / "report").mkdir()
    (place / RUN / "report" / "report.json").touch()
    assert not finished(place / RUN)
    put(place, None)
    assert finished(place / RUN)
