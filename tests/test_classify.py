from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import NULL, ClassModel, bright_and_dim, masks_of, rectangle
from promptless.classify import class_maps, classified, softmax
from promptless.config import ModelConfig
from promptless.editing import edit
from promptless.embeddings import Embeddings
from promptless.io import labelled
from promptless.masks import Masks
from promptless.pipeline import segment
from promptless.prompts import Prompts
from promptless.result import Segmentation

TWO = replace(NULL, classes=("dim", "bright"))


def logits_of(*values):
    """Return class maps (3, 6, 6): background everywhere, class 1 on the left half and 2 on the right, by logits."""
    background, left, right = values
    maps = np.zeros((3, 6, 6), np.float32)
    maps[0], maps[1, :, :3], maps[2, :, 3:] = background, left, right
    return maps


def test_the_class_is_the_most_probable_one_inside_background_left_out():
    masks = masks_of([rectangle((0, 6), (0, 4)), rectangle((1, 3), (3, 6)), rectangle((0, 6), (1, 6))])
    found = classified(masks, logits_of(9, 5, 5), 1)  # background is by far the most probable
    assert found.classes.tolist() == [1, 2, 2]
    assert found.class_probabilities[1] > 0.99
    assert found.class_probabilities[2] == pytest.approx(0.6, abs=0.01)  # three columns of five


def test_a_model_without_classes_leaves_objects_as_they_are():
    masks = masks_of([rectangle((0, 2), (0, 2))])
    assert classified(masks, class_maps(np.zeros((2, 6, 6), np.float32), NULL), 1) is masks
    assert masks.classes.tolist() == [0]
    assert np.isnan(masks.class_probabilities).all()


def test_class_maps_are_the_last_ones():
    maps = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 2, 2), np.float32)
    assert class_maps(maps, TWO)[:, 0, 0].tolist() == [2, 3, 4]
    assert TWO.maps == 5
    assert class_maps(
        maps[1:],
        ModelConfig.from_dict(
            {"name": "a", "version": "1", "licence": "", "output": "semantic", "classes": ["a", "b"]}, "here"
        ),
    )[:, 0, 0].tolist() == [2, 3, 4]


@pytest.mark.parametrize("zoom", [0.1, 0.5, 2.0])
def test_maps_may_be_finer_or_coarser_than_the_image(zoom):
    side = round(60 * zoom)
    maps = np.zeros((3, side, side), np.float32)
    maps[1, :, : side // 2] = maps[2, :, side // 2 :] = 4
    masks = masks_of([rectangle((10, 13), (5, 8)), rectangle((20, 40), (40, 60)), rectangle((59, 60), (59, 60))])
    assert classified(masks, maps, zoom).classes.tolist() == [1, 2, 2]


def test_huge_logits_are_probabilities_too():
    assert softmax(np.array([[1e4], [-1e4]], np.float32)).tolist() == [[1], [0]]


@pytest.fixture
def told():
    """A segmentation of bright and dim discs by a model that tells them apart, the model, and the true classes."""
    image, labels, classes = bright_and_dim()
    model = ClassModel()
    return segment(image, model), model, labels, classes


def test_every_object_has_its_class_whatever_the_tiles(told):
    whole, model, labels, classes = told
    tiled = segment(bright_and_dim()[0], model, tile=64, halo=32)
    for result in (whole, tiled):
        assert result.n_objects == len(classes)
        for mask, value in zip(result.masks, result.masks.classes.tolist(), strict=True):
            assert value == classes[int(labels[mask.region][mask.pixels].max())]
    assert tiled.masks.classes.tolist() == whole.masks.classes.tolist()


def test_the_table_tells_classes_only_where_the_model_does(told, null_model, blobs):
    objects = told[0].objects
    assert objects["class_name"].tolist() == [("", "dim", "bright")[value] for value in objects["class"]]
    assert (objects["class_probability"] > 0.5).all()
    assert "class" not in segment(blobs[0], null_model).objects


def test_saving_and_loading_keeps_classes(told, tmp_path):
    result = told[0]
    result.save(tmp_path, "a")
    again = Segmentation.load(tmp_path, "a", result.image)
    exported = labelled.read(tmp_path / "a_labels.tif")
    for one in (again, exported):
        assert one.masks.classes.tolist() == result.masks.classes.tolist()
        assert one.masks.class_probabilities.tobytes() == result.masks.class_probabilities.tobytes()
        assert one.class_names == ("dim", "bright")


def test_outlines_edited_elsewhere_keep_the_class_that_they_were_given(told, tmp_path):
    result = told[0]
    path = result.save(tmp_path, "a")["geojson"]
    path.write_text(path.read_text().replace('"Dim"', '"Mitotic"'))
    again = labelled.read(path)
    assert again.masks.classes.tolist() == np.where(result.masks.classes == 2, 2, 0).tolist()
    assert np.isnan(again.masks.class_probabilities).all()
    assert set(again.objects["class_name"]) == {"", "bright"}


@pytest.mark.parametrize("kept", ["kept", "fresh"])
def test_edits_keep_classes_and_give_new_objects_theirs(told, tmp_path, kept):
    _, model, _, _ = told
    embeddings = Embeddings(tmp_path) if kept == "kept" else None
    whole = segment(bright_and_dim()[0], model, embeddings=embeddings)
    fewer = edit(whole, Prompts(whole.prompts.shape, whole.prompts.items[2:]), model, embeddings=embeddings)
    assert fewer.masks.classes.tolist() == whole.masks.classes[2:].tolist()
    for path in tmp_path.glob("*.npy"):  # an edit that has what it needs does not look again
        assert path.stat().st_size
    looked = []
    model.encode, look = lambda image: looked.append(1) or look(image), model.encode
    again = edit(fewer, whole.prompts, model, embeddings=embeddings)
    assert again.masks.classes.tolist() == whole.masks.classes.tolist()
    assert again.masks.class_probabilities == pytest.approx(whole.masks.class_probabilities)
    assert bool(looked) == (kept == "fresh")


def test_columns_of_classes_follow_their_objects():
    masks = replace(
        masks_of([rectangle((0, 1)), rectangle((1, 2)), rectangle((2, 3))]),
        classes=np.array([3, 1, 2]),
        class_probabilities=np.array([0.5, 0.6, 0.7], np.float32),
    )
    assert masks.take([2, 0]).classes.tolist() == [2, 3]
    both = Masks.concatenate([masks.take([1]), masks.take([0])])
    assert both.classes.tolist() == [1, 3]
    assert both.class_probabilities.tolist() == pytest.approx([0.6, 0.5])
