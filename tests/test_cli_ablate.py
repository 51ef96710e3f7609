from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from promptless.cli import app
from promptless.train import ablation, arms_table
from test_train_ablation import PLAN


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.replace('reference = "ours"', 'reference = "ours"\nseeds = [7, 8]'))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a"], "dev": ["b"], "test": ["c"]}))
    return path


def run(recipe, *options):
    return CliRunner().invoke(app, ["ablate", str(recipe), "-o", str(recipe.parent / "out"), *options])


def test_some_arms_and_seeds_are_done_and_the_reference_with_them(recipe, monkeypatch):
    asked = []
    monkeypatch.setattr(ablation, "run", lambda plan, output, split, progress: asked.append((plan, split)) or [])
    monkeypatch.setattr(arms_table, "write", lambda *_: [])
    monkeypatch.setattr(arms_table, "plain", lambda *_: "")
    answer = run(recipe, "--only", "full", "--seeds", "8", "--split", "test")
    assert answer.exit_code == 0, answer.output
    ((plan, split),) = asked
    assert ([trial.name for trial in plan.trials], split) == (["ours, seed 8", "full, seed 8"], "test")
    assert "ours is trained as well: the reference" in answer.stderr


@pytest.mark.parametrize(
    ("seeds", "code", "message"),
    [("9", 1, "there is no seed 9; there are 7, 8"), ("one", 2, "no list of whole numbers")],
)
def test_seeds_that_there_are_not_are_refused(recipe, seeds, code, message):
    answer = run(recipe, "--seeds", seeds)
    assert (answer.exit_code, message in " ".join(answer.output.split())) == (code, True), answer.output
