from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from promptless import evaluation
from promptless.data.volumes import VolumeSample
from promptless.io.label_files import LabelImage
from promptless.train import ablation, arms_table
from promptless.train.arms import Arm, Trial
from promptless.train.volume import recipe as recipes
from promptless.train.volume.arms import VOLUMES
from volumes import PARTS, RECIPE, scan_folder
from voxel_models import NullVoxelModel

ARMS = """
[ablate]
reference = "ours"
seeds = [1, 2]
[[ablate.arm]]
name = "ours"
[[ablate.arm]]
name = "brief"
set = { "model.network.generator" = "none", "train.steps" = 1 }
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A recipe for volumes with two arms, its scans where it looks for them."""
    scan_folder(tmp_path / "shapes")
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    (tmp_path / "shapes.toml").write_text(RECIPE.replace("steps = 12", "steps = 3") + ARMS)
    return tmp_path / "shapes.toml"


def test_arms_on_volumes_are_trained_judged_and_told(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "train_apart", lambda place, masks, tell: ablation.train_here(place, masks))
    content, out = ablation.read(plan), tmp_path / "out"
    assert content.ids == PARTS
    told = []
    rows = ablation.run(content, out, progress=lambda done, text: told.append((done, text)))
    assert told[-1] == (pytest.approx(15 / 16), "brief, seed 2: dev, scan 1 of 2")
    assert [len(row.scores) for row in rows] == [2, 2]
    assert [row.cost.steps for row in rows] == [3, 1]
    ours, brief = rows
    assert ours.cost.trainable > brief.cost.trainable > 0
    assert ours.operations > brief.operations > 1e6
    assert all(row.seconds > 0 and row.cost.seconds > 0 for row in rows)
    assert all(scores.names == ("c", "d") for row in rows for scores in row.scores)
    lines = arms_table.markdown(rows, "ours").splitlines()
    heads = [cell.strip() for cell in lines[0].split("|")[7:-1]]
    assert heads == ["s/scan", "Dice mean", "NSD 1 mm", "HD95 mm", "Dice ball", "Dice box"]
    assert " ± " in lines[2]
    assert "paired by scan" in lines[5]
    assert {path.name for path in arms_table.write(rows, "ours", out, "dev")} >= {"dev.csv", "dev.md"}
    model = out / "ours" / "seed_1" / "model"
    assert json.loads((model / "config.json").read_text())["output"] == "voxels"
    assert {path.name for path in (model / "run").iterdir()} == {"train"}  # no scans, and nothing looked at test
    monkeypatch.setattr(ablation, "train_apart", None)  # what is finished is not done again
    assert [row.cost for row in ablation.run(content, out)] == [row.cost for row in rows]


class Flat:
    """A scan of one plane."""

    id, labels = "a", np.ones((1, 4, 5), np.uint8)


def test_labels_of_one_plane_are_read_again_with_three_axes(tmp_path):
    craft = replace(VOLUMES, segment=lambda sample, model, masks: sample.labels)
    for _ in range(2):
        found, _ = ablation.predictions(craft, Arm("a"), NullVoxelModel(), [Flat()], tmp_path)
        assert np.array_equal(found["a"], Flat.labels)


def test_scores_on_volumes_are_those_of_evaluate():
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[1:3, 1:4, 1:4], labels[3:5, 4:7, 4:7] = 1, 2

    truth = LabelImage(labels, (2.0, 1.0, 1.0))
    sample = VolumeSample("a", truth, labels)  # of its image only the spacing counts
    predicted = {"a": np.where(labels == 1, 0, labels)}
    recipe = {"model": {"classes": ["ball", "box"]}}
    ours = VOLUMES.judge(recipe, [sample], predicted, VOLUMES.rules)
    plain = evaluation.evaluate({"a": truth}, predicted, ("deepmind",), classes=("ball", "box"))
    assert repr(ours.rows(draws=2)) == repr(plain.rows(draws=2))
    assert {row.figure for row in ours.rows(draws=2)} >= {"Dice of ball", "NSD at 1 mm", "HD95 mm"}


@pytest.mark.parametrize(
    ("added", "message"),
    [('masks = "generator"', "no model on volumes has"), ('after = "ours"', "leave `after` out")],
)
def test_what_no_arm_on_volumes_has_is_refused(plan, added, message):
    plan.write_text(plan.read_text() + added)
    with pytest.raises(ValueError, match=message):
        ablation.read(plan)


def test_every_arm_of_the_recipe_in_the_repository_is_a_recipe(tmp_path, monkeypatch):
    (tmp_path / "msd_hippocampus").mkdir()
    (tmp_path / "msd_hippocampus" / "split.json").write_text(json.dumps(PARTS))
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    content = ablation.read(Path(__file__).parent.parent / "recipes" / "autoprosam_ablations.toml")
    assert len(content.trials) == 9 * 3
    for trial in content.trials:
        ablation.begin(content, trial, tmp_path)
        recipe = recipes.read(trial.place(tmp_path) / "recipe.toml")
        assert (recipe.schedule.minutes, recipe.seed) == (None, trial.seed)
        assert 90 < recipe.schedule.steps < 1500
    assert ablation.recipe_of(content, Trial(content.arms[-1], 1))["model"]["network"] == {"feature_size": 12}
