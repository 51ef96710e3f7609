from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from made_up import NullSemanticModel, discs, picture
from promptless.batch import Job, segment_all
from promptless.revise import Revision, revise

OPTIONS = {"channel": None, "mpp": None, "min_score": None, "tile": 1024, "halo": 128}
LABELS = discs((64, 72), [(16, 16, 8), (20, 50, 7), (46, 30, 9)])


@pytest.fixture
def job(tmp_path):
    source = tmp_path / "a.png"
    PillowImage.fromarray(picture(LABELS)).save(source)
    return Job(source, "a")


@pytest.fixture
def change(job, null_model, tmp_path):
    """Revise the image's result in a folder."""

    def apply(revision, folder=tmp_path / "out", overwrite=False):
        return revise(job, null_model, folder, revision, overwrite=overwrite, progress=lambda *_: None, **OPTIONS)

    return apply


@pytest.fixture
def out(job, null_model, tmp_path):
    """A folder with the image's automatic result."""
    list(segment_all([job], null_model, tmp_path / "out", **OPTIONS))
    return tmp_path / "out"


def edited(path, target=None, without=()):
    """Write a prompts file with some prompts left out."""
    content = json.loads(path.read_text())
    content["prompts"] = [p for p in content["prompts"] if p["id"] not in without]
    (target or path).write_text(json.dumps(content))
    return target or path


def labels_in(folder):
    return tifffile.imread(folder / "a_labels.tif")


def test_prompts_edited_in_their_place(change, out):
    before = labels_in(out)
    outcome = change(Revision(edited(out / "a_prompts.json", without=[2])))
    assert (outcome.state, outcome.n_objects, outcome.message) == ("done", 2, "1 deleted")
    assert np.array_equal(labels_in(out), np.where(before == 2, 0, before))


def test_prompts_edited_in_a_copy_beside_the_result_and_saved_elsewhere(change, out, tmp_path):
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    change(Revision(edited(out / "a_prompts.json", out / "mine.json", without=[1])), folder=tmp_path / "other")
    assert np.unique(labels_in(tmp_path / "other")).tolist() == [0, 2, 3]
    (out / "mine.json").unlink()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_without_a_result_all_prompts_are_decoded(change, out, tmp_path):
    prompts = edited(out / "a_prompts.json", tmp_path / "p.json", without=[3])
    outcome = change(Revision(prompts), folder=tmp_path / "new")
    assert outcome.message == "2 added"
    assert np.array_equal(labels_in(tmp_path / "new") > 0, (LABELS > 0) & (LABELS < 3))


def test_clicks_without_a_result_merge_with_the_automatic_prompts(change, tmp_path):
    outcome = change(Revision(positive=[(16.0, 16.0)]))
    assert (outcome.n_objects, outcome.message) == (3, "1 edited")
    assert (tmp_path / "out" / "a_embedding").is_dir()


def test_an_edited_result_is_skipped_by_a_batch(change, out, job, null_model):
    change(Revision(edited(out / "a_prompts.json", without=[2])))
    assert [outcome.state for outcome in segment_all([job], null_model, out, **OPTIONS)] == ["skipped"]


def test_edits_are_listed_one_after_the_other(change, out):
    change(Revision(edited(out / "a_prompts.json", without=[2])))
    change(Revision(edited(out / "a_prompts.json", without=[3])))
    edits = json.loads((out / "a_manifest.json").read_text())["edits"]
    assert [entry["deleted"] for entry in edits] == [[2], [3]]


def test_a_result_of_another_image_is_in_the_way(change, out, job, tmp_path):
    PillowImage.fromarray(picture(LABELS[::-1])).save(job.source)
    with pytest.raises(FileExistsError, match="of another image"):
        change(Revision(positive=[(5.0, 5.0)]))
    assert change(Revision(positive=[(5.0, 5.0)]), overwrite=True).state == "done"


def test_overwriting_begins_anew(change, out):
    outcome = change(Revision(edited(out / "a_prompts.json", without=[2])), overwrite=True)
    assert outcome.message == "2 added"


def test_kinds_of_output_and_the_overlay_are_as_before(change, job, null_model, tmp_path):
    out = tmp_path / "out"
    list(segment_all([job], null_model, out, also=["coco"], overlay="prompts", **OPTIONS))
    before = json.loads((out / "a_coco.json").read_text())
    change(Revision(edited(out / "a_prompts.json", without=[2])))
    assert len(json.loads((out / "a_coco.json").read_text())["annotations"]) == len(before["annotations"]) - 1
    assert json.loads((out / "a_manifest.json").read_text())["overlay"] == "prompts"
    asked = {"also": ["coco"], "overlay": "prompts"}
    assert [o.state for o in segment_all([job], null_model, out, **asked, **OPTIONS)] == ["skipped"]


def test_other_settings_than_those_of_the_result_are_refused(job, null_model, out):
    with pytest.raises(ValueError, match=r"made with min_score .* not 0.9"):
        revise(job, null_model, out, Revision(positive=[(16.0, 16.0)]), **{**OPTIONS, "min_score": 0.9})


def test_a_file_that_was_changed_by_hand_is_not_replaced_unasked(change, out):
    (out / "a.geojson").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.geojson, not written by promptless or changed since"):
        change(Revision(positive=[(16.0, 16.0)]))
    assert (out / "a.geojson").read_text() == "mine"


def test_prompts_without_an_object_are_counted_apart(change, out, tmp_path):
    content = json.loads((out / "a_prompts.json").read_text())
    content["prompts"].append({"id": 9, "points": [[60, 60]], "point_labels": [1]})  # the null model needs a mask
    (tmp_path / "p.json").write_text(json.dumps(content))
    new = tmp_path / "new"
    assert change(Revision(tmp_path / "p.json"), folder=new).message == "3 added, 1 without an object"
    assert change(Revision(tmp_path / "p.json"), folder=new).message == "nothing changed; 1 without an object"


def test_an_id_given_twice_is_refused(change, out):
    content = json.loads((out / "a_prompts.json").read_text())
    content["prompts"].append(content["prompts"][0])
    (out / "a_prompts.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"the ids \[1\] more than once"):
        change(Revision(out / "a_prompts.json"))


def test_prompts_of_another_image_of_the_same_shape_are_refused(change, out, job, tmp_path):
    prompts = edited(out / "a_prompts.json", tmp_path / "p.json")
    PillowImage.fromarray(picture(LABELS[::-1])).save(job.source)
    with pytest.raises(ValueError, match="is for another image"):
        change(Revision(prompts), folder=tmp_path / "new")
    content = json.loads(prompts.read_text())
    prompts.write_text(json.dumps({**content, "image": ""}))
    assert change(Revision(prompts), folder=tmp_path / "new").state == "done"


def semantic(job, folder, revision, **more):
    return revise(job, NullSemanticModel(reach=2), folder, revision, progress=lambda *_: None, **OPTIONS, **more)


def test_points_join_those_of_a_semantic_model_and_earlier_ones_stay(job, tmp_path):
    out = tmp_path / "semantic"
    list(segment_all([job], NullSemanticModel(reach=2), out, **OPTIONS))
    before = labels_in(out)
    first = semantic(job, out, Revision(positive=[(60.0, 60.0)]))
    second = semantic(job, out, Revision(negative=[(16.0, 16.0)]))
    assert (first.message, second.message) == ("1 point of yours", "2 points of yours")
    after = labels_in(out)
    assert not before[60, 60]
    assert after[60, 60]
    assert before[16, 16]
    assert not after[16, 16]
    prompt = json.loads((out / "a_prompts.json").read_text())["prompts"][0]
    assert (prompt["points"][-2:], prompt["point_labels"][-2:]) == ([[60.0, 60.0], [16.0, 16.0]], [1, 0])
    outcome = next(iter(segment_all([job], NullSemanticModel(reach=2), out, **OPTIONS)))
    assert outcome.state == "skipped"


def test_points_may_come_with_the_first_semantic_result(job, tmp_path):
    semantic(job, tmp_path / "new", Revision(positive=[(60.0, 60.0)]))
    assert labels_in(tmp_path / "new")[60, 60]


def test_overwriting_forgets_earlier_points(job, tmp_path):
    semantic(job, tmp_path / "new", Revision(positive=[(60.0, 60.0)]))
    semantic(job, tmp_path / "new", Revision(negative=[(16.0, 16.0)]), overwrite=True)
    assert not labels_in(tmp_path / "new")[60, 60]


def test_a_prompts_file_for_a_semantic_model_is_refused_with_what_can_be_done(job, out):
    with pytest.raises(ValueError, match=r"null gives one mask.*--point Y,X and --negative Y,X"):
        semantic(job, out.with_name("new"), Revision(out / "a_prompts.json"))


def test_a_batch_that_is_repeated_never_loses_edits(change, out, job, null_model):
    change(Revision(edited(out / "a_prompts.json", without=[2])))
    after = labels_in(out)
    (out / "a_overlay.png").unlink()
    (again,) = segment_all([job], null_model, out, **OPTIONS)
    assert again.state == "failed"
    assert "holds a, which was edited, without its a_overlay.png; another edit writes all files again" in again.message
    assert np.array_equal(labels_in(out), after)
    change(Revision(edited(out / "a_prompts.json", without=[1])))
    assert (out / "a_overlay.png").exists()
    (again,) = segment_all([job], null_model, out, keep_embedding=True, **OPTIONS)
    assert again.state == "skipped"
    (other,) = segment_all([job], null_model, out, **{**OPTIONS, "mpp": 0.5})
    assert "--overwrite replaces them, and the edits with them, another folder keeps both" in other.message


@pytest.mark.parametrize(("name", "below"), [("a_png", ""), ("a", "deep")])
def test_an_edit_finds_the_result_of_its_image_whatever_that_is_called(name, below, job, null_model, tmp_path):
    out = tmp_path / "out"
    list(segment_all([Job(job.source, name, Path(below))], null_model, out, **OPTIONS))
    wanted = Revision(edited(out / below / f"{name}_prompts.json", without=[2]))
    outcome = revise(job, null_model, out, wanted, progress=lambda *_: None, **OPTIONS)
    assert (outcome.job.name, outcome.n_objects, outcome.message) == (name, 2, "1 deleted")
    assert {path.name for path in out.rglob("*_labels.tif")} == {f"{name}_labels.tif"}
    if below:
        list(segment_all([Job(job.source, "b")], null_model, out, **OPTIONS))
        with pytest.raises(ValueError, match=r"has several results of .*a\.png: b, deep/a; take away"):
            revise(job, null_model, out, wanted, progress=lambda *_: None, **OPTIONS)
