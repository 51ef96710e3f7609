from __future__ import annotations

import json
from dataclasses import replace

import pytest

from made_up import discs, picture
from promptless.data import prepared
from promptless.data.preparation import prepare
from promptless.data.prepared import Facts
from promptless.data.sample import Sample
from promptless.data.source import Source

NAMES = tuple("abcdefghij")


def load(name):
    labels = discs((20, 24), [(6, 6, 4), (13, 16, 5)])
    return Sample(name, "grey", picture(labels)[None], labels, 0.5)


SOURCE = Source(Facts("made", "CC0-1.0", "here", {1: "disc"}), prepared.IMAGES, NAMES, load)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_prepared_folder_says_all_that_is_known(tmp_path):
    told = []
    made = prepare(SOURCE, tmp_path / "out", progress=lambda done, name: told.append((done, name)))
    assert made.parts == json.loads((tmp_path / "out" / "split.json").read_text())
    assert sorted(name for part in made.parts.values() for name in part) == list(NAMES)
    entry = {"id": "a", "shape": [20, 24], "category": "grey", "objects": 2, "mpp": 0.5}
    assert prepared.index(tmp_path / "out")[0] == entry
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert facts == {"name": "made", "licence": "CC0-1.0", "source": "here", "classes": {"1": "disc"}}
    assert told == [*enumerate(NAMES), (10, "")]


def test_files_without_a_partner_stop_it_unless_they_may_be_left_out(tmp_path):
    alone = tuple(f"{name} has no masks" for name in "vwxyz")
    source = replace(SOURCE, unpaired=alone)
    with pytest.raises(ValueError, match=r"^v has no masks, w .*, x .*, and 2 more; --skip-unpaired leaves them out$"):
        prepare(source, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert prepare(source, tmp_path / "out", skip_unpaired=True).left_out == alone


def test_no_images_are_no_data_set(tmp_path):
    with pytest.raises(ValueError, match="no images with masks for the set made"):
        prepare(replace(SOURCE, ids=()), tmp_path / "out")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_nothing_and_takes_nothing(tmp_path, error):
    def broken(name):
        if name == "e":
            raise error
        return load(name)

    with pytest.raises(error):
        prepare(replace(SOURCE, load=broken), tmp_path / "out")
    assert not list(tmp_path.iterdir())
    prepare(SOURCE, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(error):
        prepare(replace(SOURCE, load=broken), tmp_path / "out", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert content(tmp_path / "out") == before


def test_a_prepared_folder_is_replaced_only_where_that_is_asked_for(tmp_path):
    prepare(SOURCE, tmp_path / "out")
    with pytest.raises(FileExistsError, match="--overwrite prepares it anew"):
        prepare(SOURCE, tmp_path / "out")
    prepare(replace(SOURCE, ids=("a", "b")), tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["a.png", "b.png"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").touch()
    with pytest.raises(FileExistsError, match="holds other things"):
        prepare(SOURCE, tmp_path, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        prepare(SOURCE, tmp_path / "file", overwrite=True)


def test_a_split_that_was_edited_is_kept(tmp_path):
    prepare(replace(SOURCE, ids=NAMES[:4]), tmp_path / "out")
    edited = {"train": ["c", "d"], "dev": ["a"], "test": ["b"]}
    (tmp_path / "out" / "split.json").write_text(json.dumps(edited))
    parts = prepare(SOURCE, tmp_path / "out", overwrite=True).parts
    assert all(set(names) <= set(parts[part]) for part, names in edited.items())


def test_an_empty_folder_may_be_filled(tmp_path):
    assert prepare(SOURCE, tmp_path).left_out == ()
    assert {path.name for path in tmp_path.iterdir()} == prepared.IMAGES.content - {"classes"}


@pytest.mark.parametrize(("n", "empty"), [(2, ["test"]), (5, []), (10, [])])
def test_few_images_leave_no_part_empty_that_need_not_be(tmp_path, n, empty):
    parts = prepare(replace(SOURCE, ids=NAMES[:n]), tmp_path / "out").parts
    assert [part for part, names in parts.items() if not names] == empty


def test_where_nothing_belongs_together_nothing_can_be_left_out(tmp_path):
    source = replace(SOURCE, ids=(), unpaired=("a has no masks", "x has no image", "y has no image"))
    with pytest.raises(ValueError, match=r"1 image \(a\), 2 with masks \(x, y\); name the masks"):
        prepare(source, tmp_path / "out", skip_unpaired=True)
    with pytest.raises(ValueError, match=r"2 images .*, 0 with masks \(none\)"):
        prepare(replace(source, unpaired=("a has no masks", "b has no masks")), tmp_path / "out")
