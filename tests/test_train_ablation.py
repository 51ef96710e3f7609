from __future__ import annotations

import csv
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapting import config_for, small_base
from made_up import NULL, NullModel, discs, picture
from promptless import evaluation
from promptless.data.sample import Sample
from promptless.loading import load
from promptless.networks.adapted import begun
from promptless.runtimes.torch import TorchModel
from promptless.train import ablation, arms_table, planar_arms, recipes
from promptless.train.ablation import read, same_generator
from promptless.train.arms import Arm, Cost, Row, Trial, varied
from promptless.train.planar_arms import PLANES
from test_train_adapters import prepared_folder

PLAN = """
source = "folder"
split = "split.json"
seed = 3
[adapter]
backbone = "nuclei"
rank = 4
[generator]
steps = 2
[joint]
steps = 2
[model]
name = "a"
[ablate]
reference = "ours"
[[ablate.arm]]
name = "ours"
[[ablate.arm]]
name = "semantic"
without = ["joint"]
[ablate.arm.set]
"adapter.rank" = 8
"model.output" = "semantic"
sac = { steps = 1 }
[[ablate.arm]]
name = "full"
after = "ours"
set = { "adapter.rank" = 0 }
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a"], "dev": ["b"], "test": ["c"]}))
    return path


def arm(plan, name):
    return next(a for a in plan.arms if a.name == name)


def test_an_arm_is_the_recipe_with_its_values_in_it(recipe):
    plan = read(recipe)
    assert "ablate" not in plan.recipe
    assert varied(plan.recipe, arm(plan, "ours")) == plan.recipe
    changed = varied(plan.recipe, arm(plan, "semantic"))
    assert "joint" not in changed
    assert changed["adapter"] == {"backbone": "nuclei", "rank": 8}
    assert changed["model"] == {"name": "a", "output": "semantic"}
    assert changed["sac"] == {"steps": 1}
    assert plan.recipe["adapter"]["rank"] == 4  # the recipe itself stays


def test_a_generator_is_shared_only_where_it_is_trained_alike(recipe):
    plan = read(recipe)
    ours, semantic, full = (varied(plan.recipe, arm(plan, name)) for name in ("ours", "semantic", "full"))
    assert same_generator(ours, full)
    assert not same_generator(ours, semantic)  # it has another number of maps
    assert not same_generator(ours, {**full, "seed": 4})
    assert not same_generator(ours, {**full, "generator": {"steps": 3}})


def test_an_arm_that_was_never_trained_gives_nothing(recipe, tmp_path):
    plan = read(recipe)
    alone = replace(plan, arms=(arm(plan, "full"),), reference="full")
    ablation.begin(alone, Trial(arm(plan, "full")), tmp_path)
    assert not (tmp_path / "full" / "model").exists()


def test_the_trained_generator_is_taken_over(recipe, tmp_path):
    plan, folder = read(recipe), tmp_path / "out"
    trained = folder / "ours" / "model" / "run" / "generator"
    trained.mkdir(parents=True)
    (trained / "checkpoint.pt").write_text("weights")
    ablation.begin(plan, Trial(arm(plan, "ours")), folder)
    for name in ("full", "semantic"):
        ablation.begin(plan.of([name]), Trial(arm(plan, name)), folder)  # also where the earlier arm is not asked for
        assert (folder / name / "recipe.toml").is_file()
    assert (folder / "full" / "model" / "run" / "generator" / "checkpoint.pt").read_text() == "weights"
    assert not (folder / "semantic" / "model").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ablate", "compare", r"no \[ablate\] with arms"),
        ('reference = "ours"', 'reference = "theirs"', "theirs is none"),
        ('after = "ours"', 'after = "nobody"', "nobody is none"),
        ('name = "full"', 'name = "ours"', "a name of its own"),
        ('after = "ours"', 'masks = "soft"', 'must be "decoded" or "generator"'),
        ('after = "ours"', "afterwards = 1", "does not know"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(recipe, old, new, message):
    recipe.write_text(PLAN.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read(recipe)


def test_some_arms_only_and_always_the_reference(recipe):
    plan = read(recipe)
    assert [a.name for a in plan.of(("full",)).arms] == ["ours", "full"]
    with pytest.raises(ValueError, match="there is no arm nobody"):
        plan.of(("nobody",))


def samples():
    for i, radius in enumerate((6, 8, 7)):
        labels = discs((64, 64), [(16, 16, radius), (44, 40, 9)])
        yield Sample(f"s{i}", "unsorted", picture(labels)[None], labels)


class Unasked(NullModel):
    def encode(self, image):
        raise AssertionError("the model was asked")


def test_predictions_are_kept_and_read_again(tmp_path):
    every = list(samples())
    found, seconds = ablation.predictions(PLANES, Arm("null"), NullModel(), every, tmp_path)
    again, same = ablation.predictions(PLANES, Arm("null"), Unasked(), every, tmp_path)
    assert seconds == same > 0
    for sample in every:
        assert np.array_equal(found[sample.id], again[sample.id])
        assert np.array_equal(found[sample.id] > 0, sample.labels > 0)


def test_predictions_that_were_interrupted_go_on_where_they_were(tmp_path):
    every = list(samples())
    ablation.predictions(PLANES, Arm("null"), NullModel(), every[:2], tmp_path)
    with pytest.raises(AssertionError, match="was asked"):
        ablation.predictions(PLANES, Arm("null"), Unasked(), every, tmp_path)
    found, seconds = ablation.predictions(PLANES, Arm("null"), NullModel(), every, tmp_path)
    assert len(found) == 3
    assert seconds > 0


@pytest.mark.parametrize("other", [NullModel(replace(NULL, name="other"), iou=0.0), "generator"])
def test_predictions_of_another_model_or_other_masks_are_not_taken(tmp_path, other):
    every, blind = list(samples()), NullModel(iou=0.0)  # whose decoder trusts none of its masks
    first = NullModel() if isinstance(other, NullModel) else blind
    before, _ = ablation.predictions(PLANES, Arm("a"), first, every, tmp_path)
    model, masks = (other, "decoded") if isinstance(other, NullModel) else (blind, other)
    after, _ = ablation.predictions(PLANES, Arm("a", masks=masks), model, every, tmp_path)
    assert all(before[s.id].any() != after[s.id].any() for s in every)


def test_a_finished_arm_of_another_recipe_is_not_taken_for_this_one(recipe, tmp_path):
    plan, folder = read(recipe), tmp_path / "out"
    ablation.begin(plan, Trial(arm(plan, "full")), folder)
    (folder / "full" / "cost.json").write_text(json.dumps({"seconds": 3.0}))
    assert ablation.trained(plan, Trial(arm(plan, "full")), folder)[1].seconds == 3
    recipe.write_text(PLAN.replace("seed = 3", "seed = 4"))
    changed = read(recipe)
    with pytest.raises(ValueError, match=r"full was trained by another recipe: seed was 3 and is 4; put back"):
        ablation.trained(changed, Trial(arm(changed, "full")), folder)
    elsewhere = replace(plan, ids={**plan.ids, "train": ["c"]})
    with pytest.raises(ValueError, match=r'train\[0\] was "a" and is "c"'):
        ablation.trained(elsewhere, Trial(arm(plan, "full")), folder)


def test_an_arm_that_another_ablation_trains_is_waited_for(recipe, tmp_path, monkeypatch):
    plan, begun = read(recipe), []

    def slowly(place, masks, tell):
        begun.append(place)
        time.sleep(0.5)
        return Cost(seconds=1.0)

    monkeypatch.setattr(ablation, "train_apart", slowly)
    with ThreadPoolExecutor(2) as pool:
        trials = [pool.submit(ablation.trained, plan, Trial(arm(plan, "full")), tmp_path) for _ in range(2)]
        assert [trial.result()[1].seconds for trial in trials] == [1.0, 1.0]
    assert len(begun) == 1


def test_the_generators_own_masks_are_judged_where_an_arm_says_so(tmp_path):
    blind = NullModel(iou=0.0)  # whose decoder trusts none of its masks
    every = list(samples())
    decoded, _ = ablation.predictions(PLANES, Arm("a"), blind, every, tmp_path / "a")
    own, _ = ablation.predictions(PLANES, Arm("b", masks="generator"), blind, every, tmp_path / "b")
    assert not any(labels.any() for labels in decoded.values())
    assert all((own[s.id] > 0).sum() == (s.labels > 0).sum() for s in every)


def operations(network, config):
    """Return the operations of a look by a network that is not saved."""
    return planar_arms.operations("none", TorchModel(network, config))


def test_the_operations_of_a_look_grow_with_what_is_looked_with(tiny_folder):
    base = small_base(tiny_folder)
    small, wide = (begun(base, config_for(base, generator=widths)) for widths in ((4, 8, 16), (8, 16, 32)))
    stem = 2 * 3 * 9 * 4 * planar_arms.LOOK**2  # of the first convolution alone: products and sums
    few, many = (operations(network, config_for(base)) for network in (small, wide))
    assert stem < few < many
    assert {p.device.type for p in small.parameters()} == {"cpu"}


PHASE = "patch = 64\nsteps = 1\nbatch = 1\nwarmup = 1"


def test_every_arm_is_trained_judged_and_told(recipe, tmp_path, monkeypatch):
    prepared_folder(tmp_path / "cells")
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    monkeypatch.setattr(ablation, "train_apart", lambda place, masks, tell: ablation.train_here(place, masks))
    text = PLAN.replace("steps = 2", PHASE).replace('"folder"', '"folder"\ndata = "cells"')
    text = text.replace('name = "a"', 'name = "a"\nversion = "1"\nlicence = "unknown"')
    text = text.replace('name = "full"', 'name = "full"\nmasks = "generator"\nwithout = ["joint"]')
    recipe.write_text(text.replace("{ steps = 1 }", "{ patch = 64, steps = 1, batch = 1, warmup = 1 }"))
    plan, out = read(recipe), tmp_path / "out"
    told = []
    first = ablation.run(plan, out, progress=lambda done, name: told.append((done, name)))
    assert told == sorted(told)
    assert told[-1] == (5 / 6, "full: dev, image 0 of 1")
    assert [row.arm.name for row in first] == ["ours", "semantic", "full"]
    assert all(row.scores[0].names == ("b",) and row.seconds > 0 for row in first)
    assert [row.cost.steps for row in first] == [2, 2, 1]
    assert all(row.cost.seconds > 0 and row.cost.trainable > 0 and row.operations > 1e9 for row in first)
    assert (out / "full" / "model" / "run" / "generator" / "log.csv").read_text() == (
        out / "ours" / "model" / "run" / "generator" / "log.csv"
    ).read_text()
    monkeypatch.setattr(ablation, "train_apart", None)  # what is finished is not done again
    assert [row.cost for row in ablation.run(plan, out)] == [row.cost for row in first]


def rows():
    truth = {s.id: s.labels for s in samples()}
    worse = {name: np.where(labels == 1, 0, labels) for name, labels in truth.items()}
    for name, predicted in (("ours", truth), ("worse", worse)):
        scores = evaluation.evaluate(truth, predicted, PLANES.rules)
        cost = Cost(90.0, 2**30, 1_500_000, 300)
        yield Row(Arm(name, about=f"what {name} is"), cost, 0.25, 0.25e12, (scores,), PLANES.words)


def test_the_table_has_costs_scores_and_paired_differences(tmp_path):
    text = arms_table.markdown(list(rows()), "ours")
    ours, worse = (next(line for line in text.splitlines() if line.startswith(f"| {n} ")) for n in ("ours", "worse"))
    assert "| 1.50 | 300 | 1.5 | 1.0 | 0.25 | 0.25 | 1.000 |" in ours
    assert "<br>" not in ours
    assert "0.500<br>-0.500 [-0.500, -0.500]" in worse  # AP: one of two objects in each image
    assert "what worse is" in text
    written = arms_table.write(list(rows()), "ours", tmp_path, "dev")
    assert [path.name for path in written][:2] == ["dev.csv", "dev.md"]
    with (tmp_path / "dev.csv").open() as file:
        table = {(r["arm"], r["rule"], r["figure"]): r for r in csv.DictReader(file)}
    assert float(table["worse", "stardist", "AP@0.50 pooled"]["less_reference"]) == pytest.approx(-0.5)
    assert float(table["ours", "stardist", "AP@0.50 pooled"]["less_reference"]) == 0


def test_scores_are_drawn_against_a_number_where_arms_have_one(tmp_path):
    pytest.importorskip("matplotlib")
    every = list(rows())
    assert [path.name for path in arms_table.write(every, "ours", tmp_path, "dev")][2:] == ["dev.png"]
    numbered = [replace(row, arm=replace(row.arm, x=x)) for row, x in zip(every, (32, 8), strict=True)]
    written = arms_table.write([*numbered, *every], "ours", tmp_path, "dev", "positives")
    assert [path.name for path in written][2:] == ["dev.png", "dev_curve.png"]
    assert (tmp_path / "dev_curve.png").stat().st_size > 1000


def test_a_terminal_gets_aligned_columns_and_differences_in_lines_of_their_own():
    lines = arms_table.plain(list(rows()), "ours").splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0].split()[:4] == ["arm", "trains", "steps", "minutes"]
    ours, worse, less = lines[2:5]
    assert ours.index("1.000") == worse.index("0.770")
    assert worse.split()[-2:] == ["0.500", "0.500"]
    assert less.split()[-2:] == ["-0.500*", "-0.500*"]
    assert not any(mark in line for line in lines for mark in ("|", "<br>"))
    assert "3 images" in "".join(lines)


def test_one_image_has_no_interval_and_is_one():
    every = list(rows())
    single = [replace(row, scores=(one_image(row.scores[0]),)) for row in every]
    for text in (arms_table.markdown(single, "ours"), arms_table.plain(single, "ours")):
        assert "nan" not in text
        assert "1 image. " in text
    assert "0.500<br>-0.500 - |" in arms_table.markdown(single, "ours")


def one_image(scores):
    return replace(scores, names=scores.names[:1], counts={rule: each[:1] for rule, each in scores.counts.items()})


def test_the_logs_of_an_arm_say_how_far_it_is(recipe, tmp_path):
    plan = read(recipe)
    semantic = varied(plan.recipe, arm(plan, "semantic"))
    assert ablation.progress_of(tmp_path, semantic) == (0, "step 0")
    for phase, text in (("generator", "step,loss\n1,0.5\n2,0.4\n"), ("sac", "step,loss\n1,0.")):
        folder = tmp_path / "model" / "run" / phase
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text(text)  # the last line is being written
    assert ablation.progress_of(tmp_path, semantic) == (2 / 3, "step 2")
    timed = {"model": {"output": "voxels"}, "train": {"minutes": 2}}
    (tmp_path / "model" / "run" / "train").mkdir()
    (tmp_path / "model" / "run" / "train" / "log.csv").write_text("step,rate,seconds,loss\n1,0.1,20,1\n2,0.1,30,1\n")
    assert ablation.progress_of(tmp_path, timed) == (0.25, "step 2")


def test_a_model_that_ships_has_its_operations_counted_too():
    assert 0.05e12 < planar_arms.operations("nuclei", load("nuclei")) < 0.2e12


RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.mark.parametrize("name", ["sac_monuseg", "sac_ablations", "sac_backbones"])
def test_every_arm_of_the_recipes_in_the_repository_is_a_recipe(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    plan = read(RECIPES / f"{name}.toml")
    for one in plan.arms:
        if one.model is None:
            ablation.begin(plan, Trial(one), tmp_path)
            recipe = recipes.read(tmp_path / one.name / "recipe.toml")
            assert recipe.adapter is not None
            assert recipe.phases


def test_every_arm_is_trained_once_with_every_seed(recipe, tmp_path):
    recipe.write_text(PLAN.replace('reference = "ours"', 'reference = "ours"\nseeds = [7, 8]'))
    plan = read(recipe)
    assert [trial.name for trial in plan.trials][:4] == [
        "ours, seed 7",
        "semantic, seed 7",
        "full, seed 7",
        "ours, seed 8",
    ]
    assert [trial.of(plan.recipe)["seed"] for trial in plan.trials] == [7, 7, 7, 8, 8, 8]
    assert plan.trials[3].place(tmp_path) == tmp_path / "ours" / "seed_8"
    assert [trial.seed for trial in plan.with_seeds((8,)).trials] == [8, 8, 8]
    with pytest.raises(ValueError, match="there is no seed 9; there are 7, 8"):
        plan.with_seeds((9,))
    as_it_is = replace(plan, arms=(*plan.arms, Arm("shipped", model="nuclei")))
    assert [trial.name for trial in as_it_is.trials].count("shipped") == 1


def test_the_generator_that_is_taken_over_has_the_same_seed(recipe, tmp_path):
    plan = replace(read(recipe), seeds=(7, 8))
    trained = tmp_path / "ours" / "seed_8" / "model" / "run" / "generator"
    trained.mkdir(parents=True)
    for trial in plan.trials:
        ablation.begin(plan, trial, tmp_path)
    taken = {path.parent.parent.parent.name for path in (tmp_path / "full").glob("*/model/run/generator")}
    assert taken == {"seed_8"}


def test_arms_trained_several_times_are_told_by_means_and_their_spread(tmp_path):
    ours, worse = rows()
    both = replace(worse, arm=Arm("both"), scores=(*ours.scores, *worse.scores))
    again = replace(ours, scores=(*ours.scores, *ours.scores))
    lines = arms_table.markdown([again, both], "ours").splitlines()
    assert "0.750 ± 0.354<br>-0.250 [-0.250, -0.250]" in lines[3]  # AP: 1 and 0.5
    assert "3 images. Means over 2 trainings of each arm" in "".join(lines)
    arms_table.write([again, both], "ours", tmp_path, "dev")
    with (tmp_path / "dev.csv").open() as file:
        table = {(r["arm"], r["rule"], r["figure"]): r for r in csv.DictReader(file)}
    row = table["both", "stardist", "AP@0.50 pooled"]
    assert (row["trainings"], row["less_reference"]) == ("2", "-0.25")
    assert float(row["spread"]) == pytest.approx(0.35355, abs=1e-4)
