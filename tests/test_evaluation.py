from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage

import scans
from made_up import ClassModel, bright_and_dim, scattered
from promptless import evaluate
from promptless.evaluation import differences, mean_differences, means
from promptless.io.label_files import LabelImage
from promptless.pipeline import segment

NAMES = tuple("abcdefgh")


@pytest.fixture
def truth(rng):
    return {name: scattered((48, 48), (4, 7), 6, rng, gap=2) for name in NAMES}


@pytest.fixture
def moved(truth):
    """The truth, moved further from image to image."""
    return {name: np.roll(labels, i // 3, 0) for i, (name, labels) in enumerate(truth.items())}


def by_figure(rows, group="all"):
    return {(row.rule, row.figure): row for row in rows if row.group == group}


def test_the_figures_of_a_perfect_prediction_are_1_with_intervals_of_no_width(truth):
    rows = evaluate(truth, truth).rows()
    assert [(row.value, row.low, row.high, row.n_undefined) for row in rows] == [(1, 1, 1, 0)] * len(rows)


def test_intervals_hold_the_figure_and_repeat(truth, moved):
    evaluation = evaluate(truth, moved, ["stardist", "aji"])
    rows = evaluation.rows()
    assert rows == evaluation.rows()
    assert all(row.low <= row.value <= row.high for row in rows)
    assert by_figure(rows)["stardist", "AP@0.90 pooled"].low < 1


def test_categories_have_figures_of_their_own(truth, moved):
    categories = dict.fromkeys("abc", "still") | dict.fromkeys("fgh", "moved")
    rows = evaluate(truth, moved, ["msa"]).rows(categories)
    still, shifted, everything = (by_figure(rows, g)["msa", "mSA"] for g in ("still", "moved", "all"))
    assert (still.value, still.n_images, shifted.n_images, everything.n_images) == (1, 3, 3, 8)
    assert shifted.value < everything.value < 1


def test_names_that_only_one_side_has_are_left_out(truth):
    assert evaluate(truth, {"b": truth["b"], "z": truth["a"]}).names == ("b",)
    with pytest.raises(ValueError, match="no true image has a prediction of its name"):
        evaluate(truth, {"z": truth["a"]})


def test_shapes_that_differ_are_told_with_the_name(truth):
    with pytest.raises(ValueError, match=r"a: the truth has shape \(48, 48\), the prediction \(40, 48\)"):
        evaluate(truth, {"a": truth["a"][:40]})


def test_the_difference_to_itself_is_0_and_its_sign_is_that_of_the_better(truth, moved):
    ours, others = evaluate(truth, truth), evaluate(truth, moved)
    assert {(row.value, row.low, row.high) for row in differences(others, others)} == {(0, 0, 0)}
    row = by_figure(differences(ours, others))["msa", "mSA"]
    assert 0 < row.low < row.value < row.high
    assert by_figure(differences(others, ours))["msa", "mSA"].value == -row.value


def test_pairs_cancel_out_what_makes_images_hard(truth, moved):
    further = {name: np.roll(labels, 1, 0) for name, labels in moved.items()}
    ours, others = evaluate(truth, moved, ["pixel"]), evaluate(truth, further, ["pixel"])
    row = by_figure(differences(ours, others))["pixel", "IoU by image"]
    alone = by_figure(ours.rows())["pixel", "IoU by image"]
    assert row.high - row.low < alone.high - alone.low


def test_means_over_predictions_are_means_of_their_figures(truth, moved):
    good, bad = evaluate(truth, truth), evaluate(truth, moved)
    assert means([bad]) == bad.rows()
    assert {(row.value, row.low, row.high) for row in mean_differences([good, bad], [bad, good])} == {(0, 0, 0)}
    each = [by_figure(trial.rows()) for trial in (good, bad)]
    for key, row in by_figure(means([good, bad])).items():
        assert row.value == pytest.approx(np.mean([rows[key].value for rows in each]), nan_ok=True)
    half = by_figure(mean_differences([good, bad], [bad]))["msa", "mSA"]
    whole = by_figure(differences(good, bad))["msa", "mSA"]
    assert [half.value, half.low, half.high] == pytest.approx([x / 2 for x in (whole.value, whole.low, whole.high)])


def test_only_common_images_are_compared(truth):
    ours, others = evaluate(truth, truth), evaluate({"a": truth["a"]}, truth)
    assert differences(ours, others)[0].n_images == 1
    with pytest.raises(ValueError, match="no image in common"):
        differences(ours, evaluate({"z": truth["a"]}, {"z": truth["a"]}))


def test_curves_fall_and_begin_with_the_pooled_figures(truth, moved):
    evaluation = evaluate(truth, moved)
    curves = evaluation.curves()
    figures = by_figure(evaluation.rows())
    assert curves["AP"][0] == figures["stardist", "AP@0.50 pooled"].value
    assert curves["F1"][0] == figures["stardist", "F1@0.50 pooled"].value
    assert (np.diff(curves["AP"]) <= 0).all()
    with pytest.raises(ValueError, match="stardist; add it"):
        evaluate(truth, moved, ["msa"]).curves()


def test_surface_dice_says_its_tolerance(rng):
    volume = {"a": (rng.uniform(size=(6, 7, 8)) < 0.4).astype(int)}
    rows = evaluate(volume, volume, ["deepmind"], tolerance=2.5, spacing=(2.0, 1.0, 1.0)).rows()
    names = ["Dice", "NSD at 2.5 mm", "HD95 mm"]
    assert [row.figure for row in rows] == [*names, *(f"{name} of class 1" for name in names)]


def organs():
    """Labels of two scans: both have class 1, one has class 2, and none class 3."""
    first, second = np.zeros((2, 8, 9, 10), int)
    first[1:5, 2:6, 2:6], first[5:7, 2:6, 7:9], second[2:6, 1:8, 3:7] = 1, 2, 1
    return {"a": first, "b": second}


def test_classes_are_averaged_over_the_images_that_have_them():
    truth = organs()
    predicted = {name: np.roll(labels, 1, 0) for name, labels in truth.items()} | {"b": truth["b"]}
    evaluation = evaluate(truth, predicted, ["nnunet"], classes=["liver", "spleen", "brain"])
    rows = {row.class_name: row for row in evaluation.rows()}
    assert [rows[name].value for name in ("liver", "spleen", "")] == pytest.approx([0.875, 0.5, 0.6875])
    assert (rows["liver"].n_undefined, rows["spleen"].n_undefined) == (0, 1)
    assert rows["spleen"].figure == "Dice of spleen"
    assert evaluation.absent == ("brain",)
    assert {row.class_name: row.value for row in differences(evaluation, evaluation)} == dict.fromkeys(rows, 0)


def test_a_label_without_a_name_is_refused_where_names_are_given():
    truth = organs()
    with pytest.raises(ValueError, match=r"there is a label 2 without a name \(named: 1 liver\)"):
        evaluate(truth, truth, ["nnunet"], classes=["liver"])


def saved(folder, labels, affine, **codes):
    """Save label images (z, y, x) as NIfTI and return their paths by name."""
    folder.mkdir(parents=True)
    return {
        name: scans.nifti(folder / f"{name}.nii.gz", values.T.astype(np.uint8), affine, **codes)
        for name, values in labels.items()
    }


AFFINE = scans.turned((0, 1, 2), (1, 1, 1))


def test_names_are_those_that_stand_beside_the_files(tmp_path):
    truth = saved(tmp_path / "set" / "labels", organs(), AFFINE)
    predicted = saved(tmp_path / "out", organs(), AFFINE)
    assert evaluate(truth, predicted, ["nnunet"]).class_names == {}
    (tmp_path / "out" / "a.json").write_text('{"classes": {"0": "background", "1": "Liver"}}')
    assert evaluate(truth, predicted, ["nnunet"]).class_names == {1: "Liver"}
    (tmp_path / "set" / "dataset.json").write_text('{"classes": {"1": "liver", "2": "spleen"}}')
    evaluation = evaluate(truth, predicted, ["nnunet"])
    assert [row.class_name for row in evaluation.rows()] == ["", "liver", "spleen"]
    (tmp_path / "out" / "a.json").write_text('{"classes": {"1": "spleen"}}')
    with pytest.raises(ValueError, match=r"class 1 is liver beside .* and spleen beside .*a\.nii\.gz; number"):
        evaluate(truth, predicted, ["nnunet"])
    assert evaluate(truth, predicted, ["nnunet"], classes=["x", "y"]).class_names == {1: "x", 2: "y"}


def test_a_prediction_with_its_axes_turned_round_is_turned_back(tmp_path):
    truth = saved(tmp_path / "truth", organs(), AFFINE)
    other = {name: np.flip(labels, 2) for name, labels in organs().items()}
    turned = AFFINE.copy()
    turned[:3, 0], turned[:3, 3] = -AFFINE[:3, 0], AFFINE[:3, 3] + 9 * AFFINE[:3, 0]
    predicted = saved(tmp_path / "predicted", other, turned)
    rows = evaluate(truth, predicted, ["deepmind"]).rows()
    assert {row.value for row in rows if "HD95" not in row.figure} == {1}
    assert {row.value for row in rows if "HD95" in row.figure} == {0}


def test_another_grid_is_refused_where_both_files_tell_theirs(tmp_path):
    truth = saved(tmp_path / "truth", organs(), AFFINE)
    elsewhere = saved(tmp_path / "elsewhere", organs(), scans.turned((0, 1, 2), (1, 1, 1), (0.75, 1.25, 2.5)))
    with pytest.raises(ValueError, match=r"a: the prediction lies on another grid than the truth: corners .* mm apart"):
        evaluate(truth, elsewhere, ["nnunet"])
    nowhere = saved(tmp_path / "nowhere", organs(), AFFINE, sform=0, qform=0)
    assert evaluate(truth, nowhere, ["nnunet"]).rows()[0].value == 1


def test_progress_names_every_image(truth):
    told = []
    evaluate(truth, truth, ["pixel"], progress=lambda done, name: told.append((done, name)))
    assert told == list(enumerate(NAMES))


def test_one_image_has_figures_but_no_interval(truth):
    row = evaluate({"a": truth["a"]}, truth, ["pixel"]).rows()[0]
    assert row.value == 1
    assert np.isnan([row.low, row.high]).all()


def test_classes_are_read_beside_the_files(tmp_path):
    image, labels, classes = bright_and_dim()
    (tmp_path / "masks").mkdir()
    (tmp_path / "classes").mkdir()
    PillowImage.fromarray(labels.astype(np.uint16)).save(tmp_path / "masks" / "a.png")
    (tmp_path / "classes" / "a.csv").write_text(
        "label,class\n" + "".join(f"{label},{value}\n" for label, value in classes.items())
    )
    predicted = segment(image, ClassModel()).save(tmp_path / "out", "a")["labels"]
    figures = by_figure(evaluate({"a": tmp_path / "masks" / "a.png"}, {"a": predicted}, ["pannuke-pq"]).rows())
    names = ["mPQ", "bPQ", "PQ of class 1", "PQ of class 2"]
    assert [figures["pannuke-pq", name].value for name in names] == pytest.approx([1] * 4, abs=0.02)


def test_a_label_image_may_bring_its_classes(truth):
    known = {name: LabelImage(labels, classes=dict.fromkeys(range(1, 100), 3)) for name, labels in truth.items()}
    evaluation = evaluate(known, known, ["pannuke-pq"])
    assert by_figure(evaluation.rows())["pannuke-pq", "PQ of class 3"].value == pytest.approx(1, abs=1e-5)
    assert {row.value for row in differences(evaluation, evaluation)} == {0}
    with pytest.raises(ValueError, match="a: the prediction has objects but no classes"):
        evaluate(known, truth, ["pannuke-pq"])
