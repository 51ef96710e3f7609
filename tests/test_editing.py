from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from made_up import discs, point, same_partition
from promptless.editing import Changes, blank, by_tile, clicked, edit
from promptless.embeddings import Embeddings
from promptless.loading import load
from promptless.masks import Mask
from promptless.pipeline import prompt, segment
from promptless.prompts import Prompt, Prompts
from promptless.tiles import Tile


@pytest.fixture
def result(blobs, null_model):
    return segment(blobs[0], null_model)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load(tiny_folder, threads=1)


@pytest.fixture(scope="module")
def real(blobs, model):
    """A result of the tiny network, whose objects move with the prompts."""
    return segment(blobs[0], model)


def changed(result, **by_id):
    """Return a result's prompts with some replaced (`id_3=prompt`) or deleted (`id_3=None`)."""
    wanted = {int(name[3:]): value for name, value in by_id.items()}
    items = [wanted.pop(p.id, p) for p in result.prompts.items]
    return Prompts(result.prompts.shape, tuple(p for p in [*items, *wanted.values()] if p is not None))


def rewritten(prompts):
    """Return prompts as they are after a trip through a file."""
    return Prompts.from_json(prompts.to_json())


def of_disc(number, shape, *disc):
    """Return a user's prompt with a disc as its rough mask."""
    mask = Mask((0, 0), discs(shape, [disc]) > 0).trimmed()
    return replace(point(number, *disc[:2]), coarse=mask, source="user")


def test_unchanged_prompts_change_nothing(result, null_model):
    again = edit(result, rewritten(result.prompts), null_model)
    assert np.array_equal(again.labels, result.labels)
    assert again.masks.ids.tolist() == result.masks.ids.tolist()
    assert again.manifest["edits"][0]["added"] == again.manifest["edits"][0]["deleted"] == []


def test_a_deleted_prompt_frees_its_pixels_and_leaves_a_gap(result, null_model):
    again = edit(result, changed(result, id_3=None), null_model)
    assert np.array_equal(again.labels, np.where(result.labels == 3, 0, result.labels))
    assert again.masks.ids.tolist() == [p.id for p in again.prompts.items] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert again.objects["label"].tolist() == again.masks.ids.tolist()


def test_the_state_deleted_deletes(result, null_model):
    gone = replace(result.prompts.items[2], state="deleted")
    assert 3 not in edit(result, changed(result, id_3=gone), null_model).labels


def test_score_source_and_state_alone_change_nothing(result, null_model):
    touched = replace(result.prompts.items[2], score=0.1, source="user", state="edited")
    assert edit(result, changed(result, id_3=touched), null_model).manifest["edits"][0]["edited"] == []


def test_an_added_prompt_gets_only_free_pixels(result, null_model):
    new = of_disc(40, result.labels.shape, 9, 48, 7)  # over part of object 2
    again = edit(result, changed(result, id_40=new), null_model)
    assert np.array_equal(np.where(again.labels == 40, 0, again.labels), result.labels)
    free = (discs(result.labels.shape, [(9, 48, 7)]) > 0) & (result.labels == 0)
    assert np.array_equal(again.labels == 40, free)
    assert again.manifest["edits"][0]["added"] == [40]
    assert again.prompts.items[-1].state == "added"


def test_all_other_objects_stay_to_the_bit(real, model):
    moved = replace(real.prompts.items[0], points=real.prompts.items[0].points + 1)
    again = edit(real, rewritten(changed(real, id_1=moved, id_2=None)), model)
    others = ~np.isin(real.labels, (1, 2))
    free = np.isin(real.labels, (0, 1, 2))
    assert np.array_equal(again.labels[others & ~free], real.labels[others & ~free])
    for number in real.masks.ids.tolist()[2:]:
        assert np.array_equal(again.labels == number, real.labels == number)
        before, after = (r.masks.take(r.masks.ids == number) for r in (real, again))
        assert before.scores.tobytes() == after.scores.tobytes()
        assert before.stability.tobytes() == after.stability.tobytes()
    rows = {row["label"]: row for row in again.objects.rows()}
    assert all(rows[row["label"]] == row for row in real.objects.rows() if row["label"] > 2)


def test_an_edit_that_is_taken_back_gives_the_object_back(real, model):
    away = edit(real, changed(real, id_1=None), model)
    back = edit(away, changed(away, id_1=real.prompts.items[0]), model)
    assert np.array_equal(back.labels, real.labels)


def test_prompts_alone_give_what_segmenting_gives(blobs, null_model, real, model):
    for one, whole in ((null_model, segment(blobs[0], null_model)), (model, real)):
        asked = rewritten(prompt(blobs[0], one))
        again = edit(blank(blobs[0], one), asked, one)
        assert same_partition(again.labels, whole.labels)


def test_tiles_do_not_matter(blobs, null_model):
    tiled = {"tile": 16, "halo": 32}
    asked = prompt(blobs[0], null_model)
    pieces, whole = (edit(blank(blobs[0], null_model, **how), asked, null_model) for how in (tiled, {}))
    assert pieces.manifest["tiles"] > 1
    assert np.array_equal(pieces.labels, whole.labels)
    boxes = sorted(p.box.tolist() for p in prompt(blobs[0], null_model, **tiled).items)
    assert boxes == sorted(p.box.tolist() for p in asked.items)


def test_a_kept_embedding_gives_the_same_and_is_not_made_again(real, model, blobs, tmp_path, monkeypatch):
    kept = Embeddings(tmp_path / "kept")
    segment(blobs[0], model, embeddings=kept)
    moved = changed(real, id_1=replace(real.prompts.items[0], points=real.prompts.items[0].points + 1))
    fresh = edit(real, moved, model)
    monkeypatch.setattr(type(model), "encode", lambda *_: pytest.fail("the image was looked at again"))
    assert np.array_equal(edit(real, moved, model, embeddings=kept).labels, fresh.labels)


def test_a_click_beside_all_objects_asks_for_a_new_one(result):
    prompts = clicked(result, [(30.0, 80.0)], [(2.0, 2.0)])
    new = prompts.items[-1]
    assert (new.id, new.source, new.state) == (10, "user", "added")
    assert new.points.tolist() == [[30, 80], [2, 2]]
    assert new.point_labels.tolist() == [1, 0]
    assert len(prompts) == 10


def test_clicks_in_an_object_correct_it(result):
    first = result.prompts.items[0]
    prompts = clicked(result, [(8.0, 10.0)], [(9.0, 12.0)])
    edited = prompts.items[0]
    assert edited.points[len(first.points) :].tolist() == [[8, 10], [9, 12]]
    assert edited.point_labels[len(first.points) :].tolist() == [1, 0]
    assert edited.box is None
    assert np.array_equal(edited.coarse.pixels, result.masks.masks[0].pixels)
    assert Changes.between(result, prompts).kept == list(range(2, 10))


def test_a_negative_click_on_nothing_is_refused(result):
    with pytest.raises(ValueError, match=r"the negative point \(30.0, 80.0\) lies in no object"):
        clicked(result, [], [(30.0, 80.0)])


def test_a_prompt_without_an_object_is_told_of(result, null_model, caplog):
    caplog.set_level(logging.WARNING, "promptless")
    again = edit(result, changed(result, id_20=replace(point(20, 30, 80), source="user")), null_model)
    assert "prompt 20 yields no object" in caplog.text
    assert np.array_equal(again.labels, result.labels)
    assert [p.id for p in again.prompts.items] == again.masks.ids.tolist()


def test_a_prompt_belongs_to_the_tile_that_its_middle_is_in():
    left, right = (Tile((slice(0, 8), slice(a, b)), (slice(0, 8), slice(0, 16))) for a, b in ((0, 8), (8, 16)))
    asked = [point(1, 3, 2), point(2, 3, 9), point(3, 7.4, 15.4)]
    found = by_tile(asked, [left, right], (8, 16))
    assert [(tile, [p.id for p in members]) for tile, members in found] == [(left, [1]), (right, [2, 3])]


def test_an_edit_that_yields_nothing_keeps_the_earlier_object(result, null_model, caplog):
    caplog.set_level(logging.WARNING, "promptless")
    bare = replace(point(3, *result.prompts.items[2].points[0]), source="user")  # the null model needs a mask
    again = edit(result, changed(result, id_3=bare), null_model)
    assert "the earlier one stays" in caplog.text
    assert np.array_equal(again.labels, result.labels)
    assert again.prompts.items[2].coarse is None


def test_a_click_where_the_prompt_was_deleted_asks_for_a_new_object(result):
    gone = replace(result, prompts=changed(result, id_1=None))
    prompts = clicked(gone, [(8.0, 10.0)], [])
    assert [p.id for p in prompts.items] == [*range(2, 10), 10]


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (1, {"points": np.array([[90.0, 3.0]], np.float32), "point_labels": np.array([1])}, "outside the image"),
        (1, {"points": np.array([[np.nan, 3.0]], np.float32), "point_labels": np.array([1])}, "outside the image"),
        (1, {"box": np.array([[0, np.inf], [0, 4]], np.float32)}, "prompt 1 has the box"),
        (1, {"id": 0}, "ids are labels"),
        (1, {"id": 2}, r"the ids \[2\] more than once"),
        (1, {"points": np.zeros((99, 2), np.float32), "point_labels": np.ones(99, int)}, "99 points; at most 64"),
    ],
)
def test_prompts_that_cannot_be_asked_are_refused(result, null_model, number, change, message):
    bad = replace(result.prompts.items[number - 1], **change)
    with pytest.raises(ValueError, match=message):
        edit(result, changed(result, **{f"id_{number}": bad}), null_model)


def test_prompts_of_another_image_are_refused(result, null_model):
    with pytest.raises(ValueError, match=r"for an image of 10 x 10 pixels, but this one has 80 x 112"):
        edit(result, Prompts((10, 10)), null_model)


def test_another_model_is_refused(result, model):
    with pytest.raises(ValueError, match="made by null 1, whose files are not those of tiny 1"):
        edit(result, result.prompts, model)


def test_what_is_recorded_can_be_written_down(result, null_model):
    again = edit(result, changed(result, id_3=None), null_model)
    record = json.loads(json.dumps(again.manifest))
    assert record["edits"][0]["deleted"] == [3]
    assert set(record["prompts"]) == {str(p.id) for p in again.prompts.items}


def test_a_users_prompt_beats_an_automatic_one(blobs, null_model):
    shape = blobs[0].shape
    automatic = replace(of_disc(1, shape, 40, 60, 8), source="auto")
    own = of_disc(2, shape, 40, 64, 8)
    again = edit(blank(blobs[0], null_model), Prompts(shape, (automatic, own)), null_model)
    assert (again.labels == 2).sum() == own.coarse.area
    assert isinstance(again.prompts.items[0], Prompt)
