from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.data.sources.dsb2018 import read

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
