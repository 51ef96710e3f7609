from __future__ import annotations

import json

import numpy as np
import pytest

from made_up import point, rectangle
from promptless.prompts import Prompt, Prompts

NONE = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 2)), np.array([1])), "2 points and 1 point labels"),
        ((np.zeros((1, 2)), np.array([2])), "use 1"),
        ((np.zeros((1, 2)), np.array([0])), "does not say where"),
        ((*NONE, np.array([[3.0, 3.0], [0.0, 1.0]])), "start must be below"),
        ((np.zeros((1, 2)), np.array([1]), None, None, 1.0, "me"), "source 'me'"),
        ((np.zeros((1, 2)), np.array([1]), None, None, 1.0, "user", "gone"), "state 'gone'"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Prompt(1, *arguments)


def test_the_extent_is_the_box_else_the_mask_else_the_clicks():
    box, mask = np.array([[1, 5], [2, 9]], np.float32), rectangle((3, 4), (5, 8))
    points = np.array([[2, 3], [6, 1], [50, 50]], np.float32), np.array([1, 1, 0])
    assert Prompt(1, *points, box, mask).extent.tolist() == box.tolist()
    assert Prompt(1, *points, None, mask).extent.tolist() == [[3, 4], [5, 8]]
    assert Prompt(1, *points).extent.tolist() == [[2, 7], [1, 4]]


def test_moving_moves_points_box_and_mask():
    prompt = Prompt(
        4, np.array([[1, 2]], np.float32), np.array([1]), np.array([[0, 3], [1, 4.0]]), rectangle((0, 3), (1, 4))
    )
    moved = prompt.moved((10, 20))
    assert moved.points.tolist() == [[11, 22]]
    assert moved.box.tolist() == moved.coarse.box.tolist() == [[10, 13], [21, 24]]
    assert moved.id == 4


def test_zooming_keeps_pixel_centres_in_place():
    prompt = Prompt(
        1, np.array([[3, 5]], np.float32), np.array([1]), np.array([[2, 4], [4, 8.0]]), rectangle((2, 4), (4, 8))
    )
    zoomed = prompt.zoomed(2.0, (40, 40))
    assert zoomed.points.tolist() == [[6.5, 10.5]]
    assert zoomed.box.tolist() == zoomed.coarse.box.tolist() == [[4, 8], [8, 16]]


def test_the_file_has_a_line_per_object_in_the_documented_form(tmp_path):
    items = (
        Prompt(2, np.array([[1, 2], [3, 4]], np.float32), np.array([1, 0]), np.array([[0, 3], [1, 4.0]]), None, 0.5),
        point(5, 7, 8),
    )
    Prompts((10, 12), items).save(tmp_path / "a_prompts.json")
    text = (tmp_path / "a_prompts.json").read_text()
    content = json.loads(text)
    assert (content["axes"], content["shape"]) == ("yx", [10, 12])
    assert [entry["id"] for entry in content["prompts"]] == [2, 5]
    assert content["prompts"][0]["points"] == [[1, 2], [3, 4]]
    assert content["prompts"][0]["point_labels"] == [1, 0]
    assert content["prompts"][0]["box"] == [[0, 3], [1, 4]]
    assert content["prompts"][1]["coarse"] is None
    assert sum('"id"' in line for line in text.splitlines()) == 2


def test_a_prompt_that_is_only_a_box_can_be_moved_after_loading():
    box = Prompt(1, *NONE, np.array([[2, 6], [3, 9]], np.float32))
    (loaded,) = Prompts.from_json(Prompts((20, 20), (box,)).to_json()).items
    assert loaded.points.shape == (0, 2)
    assert loaded.moved((1, 1)).box.tolist() == [[3, 7], [4, 10]]


def test_what_a_user_writes_by_hand_is_taken_as_added():
    written = {
        "format": "promptless.prompts",
        "version": 1,
        "shape": [9, 9],
        "prompts": [{"id": 3, "box": [[1, 2], [3, 4]]}],
    }
    (loaded,) = Prompts.from_json(json.dumps(written)).items
    assert (loaded.id, loaded.source, loaded.state) == (3, "user", "added")


@pytest.mark.parametrize("text", ['{"format": "other"}', '{"format": "promptless.prompts", "version": 2}'])
def test_another_file_is_refused(text):
    with pytest.raises(ValueError, match="not a prompts file"):
        Prompts.from_json(text)


HEAD = '{"format": "promptless.prompts", "version": 1, "shape": [4, 5], "prompts": '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1, 2]", "not a prompts file"),
        ('{"format": "promptless.prompts", "version": 2}', "not a prompts file"),
        (HEAD.replace("[4, 5]", '"big"') + "[]}", "has the shape 'big'"),
        (HEAD.replace("[4, 5]", "[4, -5]") + "[]}", r"has the shape \[4, -5\]"),
        (HEAD + "{}}", 'no list of "prompts"'),
        (HEAD + '[{"points": [[1, 2]], "point_labels": [1]}]}', "entry 1 of the prompts lacks 'id'"),
        (HEAD + '[{"id": 1}]}', "entry 1 .* does not say where the object is"),
        (HEAD + "[7]}", "entry 1 of the prompts is malformed"),
        (HEAD + '[{"id": 1, "points": [[1, "x"]], "point_labels": [1]}]}', "entry 1 of the prompts is malformed"),
        (HEAD + '[{"id": 1, "points": [[1, 2, 3]], "point_labels": [1]}]}', "entry 1 of the prompts is malformed"),
        (HEAD + '[{"id": 1, "box": [[0, NaN], [0, 2]]}]}', "every start must be below its stop"),
        (HEAD + '[{"id": 1, "coarse": {"size": [4, 6], "counts": [24]}}]}', "of an image of .4, 6. pixels"),
        (HEAD + '[{"id": 1, "coarse": {"size": [4, 5], "counts": [3]}}]}', "run lengths add up to 3"),
        (HEAD + '[{"id": 1e400, "points": [[1, 2]], "point_labels": [1]}]}', "entry 1 of the prompts is malformed"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place_and_the_rule(text, message, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Prompts.load(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_one_of_bytes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no prompts file"):
        Prompts.load(tmp_path / "nothing.json")
    (tmp_path / "b.json").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="not a text file"):
        Prompts.load(tmp_path / "b.json")


def test_a_mask_of_a_huge_image_takes_only_the_columns_it_reaches(tmp_path):
    rows, columns = 200, 10**12
    runs = {"size": [rows, columns], "counts": [rows * 7 + 3, 10, rows * (columns - 7) - 13]}
    text = {"format": "promptless.prompts", "version": 1, "shape": [rows, columns]}
    text["prompts"] = [{"id": 1, "coarse": runs}]
    (mask,) = (p.coarse for p in Prompts.from_json(json.dumps(text)).items)
    assert (mask.start, mask.pixels.shape, mask.area) == ((3, 7), (10, 1), 10)
