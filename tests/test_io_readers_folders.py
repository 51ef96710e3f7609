from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from promptless.io import outputs
from promptless.io.readers.families import suffix_of
from promptless.io.readers.folders import OWN_OUTPUTS, images_in, others_in


@pytest.fixture
def folder(tmp_path):
    """A folder of folders: two images, notes and hidden files at each level."""
    for below in ("", "x", "x/y", ".git", "z.png"):
        (tmp_path / "in" / below).mkdir(parents=True, exist_ok=True)
        for name in ("b.png", "a.TIF", "notes.txt", ".hidden.png"):
            (tmp_path / "in" / below / name).touch()
    return tmp_path / "in"


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_stands_for_the_images_in_it(folder):
    assert names(images_in([folder]), folder) == ["a.TIF", "b.png"]
    assert names(images_in([folder / "b.png", folder]), folder) == ["b.png", "a.TIF"]
    assert others_in([folder]) == 1


def test_folders_below_are_entered_when_asked_for(folder):
    found = ["a.TIF", "b.png", "x/a.TIF", "x/b.png", "x/y/a.TIF", "x/y/b.png", "z.png/a.TIF", "z.png/b.png"]
    assert names(images_in([folder], recursive=True), folder) == found
    assert others_in([folder], recursive=True) == 4


def test_an_output_folder_inside_is_never_read_back(folder):
    found = names(images_in([folder], recursive=True, output=folder / "x"), folder)
    assert found == ["a.TIF", "b.png", "z.png/a.TIF", "z.png/b.png"]
    assert others_in([folder], recursive=True, output=folder / "x") == 2
    assert len(images_in([folder / "x"], output=folder / "x")) == 2


def test_what_a_manifest_vouches_for_is_not_read_back(folder):
    for name in ("b_labels.tif", "b_overlay.png", "c_labels.tif"):
        (folder / "x" / name).touch()
    (folder / "x" / "b_manifest.json").touch()
    assert names(images_in([folder / "x"]), folder / "x") == ["a.TIF", "b.png", "c_labels.tif"]


def test_every_output_that_is_an_image_is_known_as_such():
    endings = [output.suffix for output in outputs.WRITERS.values()]
    assert {ending for ending in endings if suffix_of(Path(ending))} <= set(OWN_OUTPUTS)


def test_a_file_that_is_named_is_not_doubted_before_it_is_read(tmp_path):
    assert images_in([tmp_path / "missing.xyz"]) == [tmp_path / "missing.xyz"]


def test_kept_embeddings_are_not_read_as_images(tmp_path):
    kept = tmp_path / "out" / "a_embedding"
    kept.mkdir(parents=True)
    np.save(kept / "x.npy", np.zeros((4, 4)))
    assert images_in([tmp_path], recursive=True) == [kept / "x.npy"]
    (tmp_path / "out" / "a_manifest.json").write_text("{}")
    assert images_in([tmp_path], recursive=True) == []


def test_label_images_beside_their_images_are_passed_over_unless_they_are_named(tmp_path):
    for name in ("a.png", "a_masks.png", "b.tif", "b_labels.png", "c_masks.png", "_masks.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in images_in([tmp_path])] == ["_masks.png", "a.png", "b.tif", "c_masks.png"]
    assert others_in([tmp_path]) == 3
    assert images_in([tmp_path / "a_masks.png"]) == [tmp_path / "a_masks.png"]
