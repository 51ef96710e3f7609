from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.data.prepared import IMAGES, Facts, read, read_classes, write
from promptless.data.sample import Sample

SPLIT = Path(__file__).parent.parent / "recipes" / "splits" / "dsb2018.json"


@pytest.fixture(scope="module")
def data():
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        pytest.skip("PROMPTLESS_DATA is not set; it names the folder that holds dsb2018/")
    return Path(root) / "dsb2018"


@pytest.fixture
def folder(tmp_path):
    """A folder in the data set's form, with one grey and one stained image."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    labels = discs((30, 40), [(10, 10, 6), (18, 28, 8)])
    grey = picture(labels)
    colours = {"grey": np.stack([grey] * 3, axis=-1), "stained": np.stack([grey, grey // 2, 255 - grey], axis=-1)}
    for name, pixels in colours.items():
        PillowImage.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
        PillowImage.fromarray(labels.astype(np.uint16)).save(tmp_path / "masks" / f"{name}.png")
    index = [{"id": "grey", "category": "fluorescence_grey"}, {"id": "stained", "category": "HE_purple_on_white"}]
    (tmp_path / "index.json").write_text(json.dumps(index))
    return tmp_path


def test_samples_come_in_the_order_asked_for(folder):
    stained, grey = read(folder, ["stained", "grey"])
    assert (stained.id, stained.category, stained.pixels.shape) == ("stained", "HE_purple_on_white", (3, 30, 40))
    assert (grey.id, grey.category, grey.pixels.shape) == ("grey", "fluorescence_grey", (1, 30, 40))
    assert np.array_equal(grey.labels > 0, grey.pixels[0] > 100)
    assert grey.labels.dtype == np.int32
    assert grey.n_objects == 2


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing"):
        list(read(tmp_path, ["a"]))


def test_transparency_is_dropped(folder, rng):
    rgba = rng.integers(0, 255, (30, 40, 4), np.uint8)
    PillowImage.fromarray(rgba).save(folder / "images" / "stained.png")
    (stained,) = read(folder, ["stained"])
    assert np.array_equal(stained.pixels, np.moveaxis(rgba[..., :3], -1, 0))


def test_split_ids_are_disjoint():
    parts = [ids for ids in json.loads(SPLIT.read_text()).values() if isinstance(ids, list)]
    everything = [name for ids in parts for name in ids]
    assert [len(ids) for ids in parts] == [531, 66, 67]
    assert len(set(everything)) == len(everything)


def test_the_splits_cover_the_data_set(data):
    index = {entry["id"] for entry in json.loads((data / "index.json").read_text())}
    assert {name for ids in json.loads(SPLIT.read_text()).values() for name in ids} == index


def test_real_samples_have_as_many_nuclei_as_the_index_says(data):
    entries = {entry["id"]: entry for entry in json.loads((data / "index.json").read_text())}
    ids = json.loads(SPLIT.read_text())["dev"][:8]
    for sample in read(data, ids):
        entry = entries[sample.id]
        assert sample.labels.shape == sample.pixels.shape[1:] == (entry["height"], entry["width"])
        assert sample.n_objects == entry["nuclei"]
        assert sample.category == entry["category"]
        assert len(sample.pixels) in (1, 3)


def test_images_of_which_little_is_known_can_be_read(folder):
    (folder / "index.json").write_text(json.dumps([{"id": "grey"}]))
    (grey,) = read(folder, ["grey"])
    assert (grey.category, grey.mpp, grey.classes) == ("unsorted", None, {})


def test_an_image_that_the_index_lacks_is_named(folder):
    with pytest.raises(ValueError, match="has no image 'green'"):
        list(read(folder, ["green"]))


def sample(**changes):
    labels = discs((30, 40), [(10, 10, 6), (18, 28, 8)])
    return replace(Sample("a", "grey", picture(labels)[None], labels), **changes)


def test_classes_out_of_range_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"a: object 2 is of class 3, one of 1 outside the classes of the set, 1 flat, 2 round"
    ):
        write(tmp_path, IMAGES, Facts("made", "", "", {1: "flat", 2: "round"}), {}, [sample(classes={1: 1, 2: 3})])


def test_classes_of_a_set_that_has_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="which has none"):
        write(tmp_path, IMAGES, Facts("made", "", "", {}), {}, [sample(classes={1: 1})])


def test_a_class_of_an_object_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a: there is a class for object 5"):
        write(tmp_path, IMAGES, Facts("made", "", "", {1: "flat"}), {}, [sample(classes={1: 1, 5: 1})])


def test_labels_beyond_16_bits_are_refused(tmp_path):
    labels = discs((30, 40), [(10, 10, 6)]) * 65_536
    with pytest.raises(ValueError, match="a: labels go up to 65536"):
        write(tmp_path, IMAGES, Facts("made", "", "", {}), {}, [sample(labels=labels)])


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "needs the columns label and class"), ("label,class\n1,red\n", "whole numbers")],
)
def test_a_table_of_classes_that_makes_no_sense_is_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_classes(tmp_path / "a.csv")


def test_real_tissue_without_categories_is_read_as_it_is(data):
    folder = data.parent / "monuseg_train"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    names = json.loads((folder / "split.json").read_text())["dev"][:1]
    (tissue,) = read(folder, names)
    assert tissue.n_objects == next(
        e["nuclei"] for e in json.loads((folder / "index.json").read_text()) if e["id"] == names[0]
    )
    assert tissue.pixels.shape == (3, 1000, 1000)
