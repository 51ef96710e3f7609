from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from made_up import NullModel
from promptless.batch import jobs, segment_all
from promptless.registry import sha256


@pytest.fixture
def folder(tmp_path, blobs):
    """A folder with two images and, between them, a file that is none."""
    (tmp_path / "in").mkdir()
    for name in ("a.png", "c.png"):
        PillowImage.fromarray(blobs[0]).save(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_text("not an image")
    return tmp_path / "in"


def run(folder, out, **options):
    return list(segment_all(jobs([folder]), NullModel(), out, **options))


def test_names_come_from_stems(tmp_path):
    assert [j.name for j in jobs([tmp_path / "a.png", tmp_path / "b.tif"])] == ["a", "b"]


def test_the_suffix_joins_the_name_where_stems_coincide_and_else_the_folder(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "a.tif"]
    assert [j.name for j in jobs(paths)] == ["a_png", "a_tif"]
    plates = [tmp_path / "p1" / "B1.tif", tmp_path / "p2" / "B1.tif", tmp_path / "p2" / "B2.tif"]
    for order in (plates, plates[::-1]):
        named = {job.source: job.name for job in jobs(order)}
        assert [named[path] for path in plates] == ["B1_p1", "B1_p2", "B2"]
    assert [j.name for j in jobs([tmp_path / "p" / "a.tif", tmp_path / "q" / "p" / "a.tif"])] == ["a_p", "a_p_2"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from(["a.png", "a.tif", "a_png_2.tif", "a_png.tif"]))
    )
)
def test_no_two_images_share_a_name(parts):
    todo = jobs([Path(folder) / name for folder, name in parts])
    assert len({job.name for job in todo}) == len({job.source for job in todo}) == len(set(parts))


def test_an_image_that_fails_does_not_stop_the_others(folder, tmp_path):
    outcomes = run(folder, tmp_path / "out")
    assert [(o.job.name, o.state, o.n_objects) for o in outcomes] == [
        ("a", "done", 9),
        ("b", "failed", 0),
        ("c", "done", 9),
    ]
    assert "b.png" in outcomes[1].message
    assert not list((tmp_path / "out").glob("b*"))


def test_what_is_there_is_skipped_unless_overwriting(folder, tmp_path):
    run(folder, tmp_path / "out")
    assert [o.state for o in run(folder, tmp_path / "out")] == ["skipped", "failed", "skipped"]
    assert [o.state for o in run(folder, tmp_path / "out", overwrite=True)] == ["done", "failed", "done"]


def test_results_without_their_manifest_are_done_again_only_when_asked_or_interrupted(folder, tmp_path):
    run(folder, tmp_path / "out")
    (tmp_path / "out" / "c_manifest.json").unlink()
    assert [o.state for o in run(folder, tmp_path / "out")] == ["skipped", "failed", "failed"]
    (tmp_path / "out" / ".c.staging-1").mkdir()  # as a killed process leaves it
    assert [o.state for o in run(folder, tmp_path / "out")] == ["skipped", "failed", "done"]


def test_the_manifest_names_the_input_by_hash(folder, tmp_path):
    run(folder, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "a_manifest.json").read_text())
    assert manifest["input"] == {"name": "a.png", "sha256": sha256(folder / "a.png")}


def test_running_out_of_memory_fails_one_image(folder, tmp_path):
    class Greedy(NullModel):
        def encode(self, image):
            raise MemoryError

    states = list(segment_all(jobs([folder / "a.png"]), Greedy(), tmp_path / "out"))
    assert [(o.state, o.message) for o in states] == [("failed", "out of memory; smaller tiles need less (--tile)")]


def test_progress_counts_images_and_the_tiles_in_them(folder, tmp_path):
    told = []
    run(folder, tmp_path / "out", tile=32, halo=0, progress=lambda done, name: told.append((done, name)))
    assert told[0] == (0, "a.png")
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert any(0 < done < 1 for done, _ in told)
    assert told[-1] == (3, "c.png")


def test_the_outputs_of_an_earlier_run_are_not_taken_for_images(folder):
    run(folder, folder)
    assert [j.name for j in jobs([folder])] == ["a", "b", "c"]


def test_results_of_another_image_or_other_options_are_not_passed_off_as_these(folder, tmp_path, blobs):
    out = tmp_path / "out"
    run(folder, out)
    before = (out / "a_labels.tif").read_bytes()
    assert [o.state for o in run(folder, out)] == ["skipped", "failed", "skipped"]
    other = run(folder, out, min_score=0.95)
    assert [o.state for o in other] == ["failed"] * 3
    assert "--overwrite" in other[0].message
    PillowImage.fromarray(blobs[0][::-1].copy()).save(folder / "a.png")
    assert [o.state for o in run(folder, out)] == ["failed", "failed", "skipped"]
    assert (out / "a_labels.tif").read_bytes() == before
    assert [o.state for o in run(folder, out, overwrite=True)] == ["done", "failed", "done"]


def test_an_image_that_is_to_be_read_is_never_replaced(null_model, tmp_path):
    for name in ("x.png", "x_overlay.png"):
        PillowImage.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / name)
    before = (tmp_path / "x_overlay.png").read_bytes()
    with pytest.raises(FileExistsError, match="is to be read, and an output of"):
        list(segment_all(jobs([tmp_path]), null_model, tmp_path, overwrite=True))
    assert (tmp_path / "x_overlay.png").read_bytes() == before


def test_a_file_of_the_users_is_not_replaced_unasked(null_model, tmp_path):
    PillowImage.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "x.geojson").write_text("mine")
    (outcome,) = segment_all(jobs([tmp_path / "x.png"]), null_model, tmp_path)
    assert (outcome.state, (tmp_path / "x.geojson").read_text()) == ("failed", "mine")
    assert "x.geojson, not written by promptless" in outcome.message
    (outcome,) = segment_all(jobs([tmp_path / "x.png"]), null_model, tmp_path, overwrite=True)
    assert outcome.state == "done"


def test_results_of_which_a_file_is_gone_are_made_again(null_model, tmp_path):
    PillowImage.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "x.png")
    todo, out = jobs([tmp_path / "x.png"]), tmp_path / "out"
    list(segment_all(todo, null_model, out))
    (out / "x_labels.tif").unlink()
    assert [outcome.state for outcome in segment_all(todo, null_model, out)] == ["done"]
    assert (out / "x_labels.tif").is_file()


def test_a_damaged_manifest_is_named(null_model, tmp_path):
    PillowImage.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "x_manifest.json").write_text("{")
    (outcome,) = segment_all(jobs([tmp_path / "x.png"]), null_model, tmp_path)
    assert "x_manifest.json is damaged" in outcome.message
