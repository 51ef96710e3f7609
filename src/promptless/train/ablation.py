"""Ablations: one recipe, several arms that differ from it in a few places, one table."""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import tomli_w
import torch

from promptless.config import VOXELS, from_dict
from promptless.evaluation import Evaluation
from promptless.io import labels as label_images
from promptless.io.atomic import alone, replacing, replacing_folder
from promptless.loading import load
from promptless.model import Model, VoxelModel
from promptless.registry import model_hash
from promptless.train import recipes
from promptless.train.arms import GENERATOR, MODEL, RECIPE, SPLIT, Ablation, Arm, Cost, Craft, Labels, Row, Told, Trial
from promptless.train.keeping import RUN
from promptless.train.planar_arms import PLANES
from promptless.train.run import CHECKPOINT, LOG, SECONDS, reached
from promptless.train.schedule import MINUTE
from promptless.train.state import SHOWN, differences
from promptless.train.volume.arms import VOLUMES

TABLE, COST, PREDICTIONS = "ablate", "cost.json", "predictions"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    trial: Trial
    cost: Cost
    seconds: float  # per image
    operations: float
    scores: Evaluation


def read(path: Path) -> Ablation:
    """Read a recipe file with an `[ablate]` table: `reference`, `rules`, `seeds`, `x_label`, and `[[ablate.arm]]`s."""
    content = recipes.parsed(path)
    if TABLE not in content:
        raise ValueError(f"{path} has no [{TABLE}] with arms to compare; `promptless train` is for a single recipe")
    table = content.pop(TABLE)
    arms = tuple(from_dict(Arm, arm, f"{path}, [[{TABLE}.arm]]") for arm in table.pop("arm", ()))
    names = [arm.name for arm in arms]
    unknown = {table.get("reference", names[0] if names else ""), *(a.after for a in arms if a.after)} - set(names)
    if not arms or unknown or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: the arms are {', '.join(names) or 'missing'}; each needs a name of its own, and `reference` and "
            f"`after` the name of one" + (f" ({', '.join(sorted(unknown))} is none)" if unknown else "")
        )
    craft = craft_of(content)
    check_arms(arms, craft, path)
    said = {"reference": names[0], "rules": craft.rules, **table}
    known = {"recipe": content, "ids": craft.ids(content, path.parent), "arms": arms}
    return from_dict(Ablation, {**said, **known}, f"{path}, [{TABLE}]")


def craft_of(recipe: Mapping[str, Any]) -> Craft[Any]:
    """Return how arms of a recipe are trained, asked and judged: for planes, or for volumes."""
    return VOLUMES if recipe.get("model", {}).get("output") == VOXELS else PLANES


def check_arms(arms: Sequence[Arm], craft: Craft[Any], path: Path) -> None:
    """Refuse what arms of such a recipe cannot have."""
    for arm in arms:
        if arm.masks not in craft.masks:
            raise ValueError(f'{path}: the arm {arm.name} has masks = "{arm.masks}", which no model on volumes has')
        if arm.after is not None and GENERATOR not in craft.phases:
            raise ValueError(
                f"{path}: the arm {arm.name} comes after {arm.after}, but a recipe for volumes trains no generator "
                "alone; leave `after` out"
            )


def run(ablation: Ablation, folder: Path, split: str = "dev", *, progress: Told = lambda done, name: None) -> list[Row]:
    """Train every arm in a folder of its own, with every seed, segment what `split` names with it, and compare.

    What is finished is not done again: an ablation that was stopped goes on when it is run again.
    """
    craft = craft_of(ablation.recipe)
    samples = craft.samples(ablation.recipe, ablation.ids[split])
    outcomes = []
    for number, trial in enumerate(ablation.trials):
        steps, looks = halves(progress, number, len(ablation.trials), f"{trial.name}: ", split, craft.words.noun)
        name, cost = trained(ablation, trial, folder, steps)
        model, place = load(name), trial.place(folder) / PREDICTIONS / split
        predicted, seconds = predictions(craft, trial.arm, model, samples, place, looks)
        scores = craft.judge(ablation.recipe, samples, predicted, ablation.rules)
        outcomes.append(Outcome(trial, cost, seconds, craft.operations(name, model), scores))
    return [row(arm, [o for o in outcomes if o.trial.arm is arm], craft) for arm in ablation.arms]


def row(arm: Arm, outcomes: Sequence[Outcome], craft: Craft[Any]) -> Row:
    """Return the line of an arm: what its trials came to."""
    costs = [outcome.cost for outcome in outcomes]
    cost = Cost(
        statistics.fmean(cost.seconds for cost in costs),
        max(cost.memory_bytes for cost in costs),
        costs[0].trainable,
        round(statistics.fmean(cost.steps for cost in costs)),
    )
    seconds, scores = statistics.fmean(o.seconds for o in outcomes), tuple(o.scores for o in outcomes)
    return Row(arm, cost, seconds, outcomes[0].operations, scores, craft.words)


def halves(progress: Told, number: int, n_trials: int, name: str, split: str, noun: str) -> tuple[Told, Told]:
    """Return what tells how far the training of a trial is, and how far its predictions are: half of its part each."""

    def training(done: float, text: str) -> None:
        """Tell of steps."""
        progress((number + 0.5 * done) / n_trials, f"{name}training, {text}")

    def predicting(done: float, text: str) -> None:
        """Tell of images."""
        progress((number + 0.5 + 0.5 * done) / n_trials, f"{name}{split}, {noun} {text}")

    return training, predicting


def untold(done: float, text: str) -> None:
    """Tell nobody."""


def trained(ablation: Ablation, trial: Trial, folder: Path, tell: Told = untold) -> tuple[str | Path, Cost]:
    """Return the model of a trial and what it cost, after training it where that is not done yet.

    Where another ablation trains it in the same folder, that is waited for.
    """
    if trial.arm.model is not None:
        return trial.arm.model, Cost()
    place = trial.place(folder)
    place.mkdir(parents=True, exist_ok=True)
    with alone(place):
        if (place / COST).is_file():
            check_same(ablation, trial, place)
        else:
            begin(ablation, trial, folder)
            recipe = recipe_of(ablation, trial)
            cost = train_apart(place, trial.arm.masks, lambda: tell(*progress_of(place, recipe)))
            with replacing(place / COST) as temporary:
                temporary.write_text(json.dumps(asdict(cost)) + "\n", encoding="utf-8")
    return place / MODEL, from_dict(Cost, json.loads((place / COST).read_text(encoding="utf-8")), place / COST)


def check_same(ablation: Ablation, trial: Trial, place: Path) -> None:
    """Raise where what was trained in `place` is not what is meant now."""
    before, now = tomllib.loads((place / RECIPE).read_text(encoding="utf-8")), recipe_of(ablation, trial)
    told = differences(before, now) + differences(recipes.split_in(place / SPLIT), dict(ablation.ids))
    if told:
        raise ValueError(
            f"the arm in {place} was trained by another recipe: {'; '.join(told[:SHOWN])}; "
            "put back what the recipe said, delete that folder, or choose another with -o"
        )


def recipe_of(ablation: Ablation, trial: Trial) -> dict[str, Any]:
    """Return the recipe of a trial, as it is written beside its split."""
    return {**trial.of(ablation.recipe), **craft_of(ablation.recipe).says}


def begin(ablation: Ablation, trial: Trial, folder: Path) -> None:
    """Write the recipe of a trial, and take over the trained generator of the arm that it comes after."""
    place, arm = trial.place(folder), trial.arm
    place.mkdir(parents=True, exist_ok=True)
    content = recipe_of(ablation, trial)
    (place / SPLIT).write_text(json.dumps(ablation.ids, indent=1) + "\n", encoding="utf-8")
    (place / RECIPE).write_text(tomli_w.dumps(content), encoding="utf-8")
    earlier = None if arm.after is None else Trial(Arm(arm.after), trial.seed).place(folder)
    if earlier is not None and (earlier / RECIPE).is_file():
        source, target = (where / MODEL / RUN / GENERATOR for where in (earlier, place))
        alike = same_generator(content, tomllib.loads((earlier / RECIPE).read_text(encoding="utf-8")))
        if alike and source.is_dir() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing_folder(target) as aside:
                copytree(source, aside, dirs_exist_ok=True)


ALIKE = {
    None: ("source", "data", "seed", "sampling", GENERATOR),
    "adapter": ("backbone", "generator"),
    "model": ("output", "classes"),
}
"""What recipes (their tables) must have in common for the phase of the generator alone to end alike."""


def same_generator(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two recipes begin with the same training of the prompt generator."""
    tables = {name: [r if name is None else r.get(name, {}) for r in (one, other)] for name in ALIKE}
    return GENERATOR in one and all(a.get(k) == b.get(k) for name, (a, b) in tables.items() for k in ALIKE[name])


def train_apart(place: Path, masks: str, tell: Callable[[], None]) -> Cost:
    """Train in a process of its own, whose memory is its own; `tell` tells meanwhile how far that is."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(train_here, place, masks)
        while not wait([future], GLANCE).done:
            tell()
        return future.result()


GLANCE = 0.5
"""Seconds from one look at the logs of an arm to the next."""


def progress_of(place: Path, recipe: Mapping[str, Any]) -> tuple[float, str]:
    """Return which share of a recipe's phases is done, as the logs say, and how many steps."""
    phases = [name for name in craft_of(recipe).phases if name in recipe]
    total = done = 0.0
    steps = 0
    for name in phases:
        step, seconds = logged(place / MODEL / RUN / name / LOG)
        minutes = recipe[name].get("minutes")
        total += recipe[name]["steps"] if minutes is None else MINUTE * minutes
        done += step if minutes is None else seconds
        steps += step
    return done / total, f"step {steps}"


def logged(log: Path) -> tuple[int, float]:
    """Return how many steps a log has, and how many seconds of training they took where it says so."""
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    if len(lines) < 2:  # the header alone
        return 0, 0.0
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    return int(last["step"]), float(last.get(SECONDS, 0))


def train_here(place: Path, masks: str) -> Cost:
    """Train what the recipe in a folder says, or go on; return what it cost this process."""
    craft = craft_of(recipes.parsed(place / RECIPE))
    trainable = craft.train(place, masks)
    ends = [reached(path.parent) for path in (place / MODEL / RUN).glob(f"*/{CHECKPOINT}")]
    return Cost(sum(seconds for _, seconds in ends), peak_bytes(), trainable, sum(step for step, _ in ends))


def peak_bytes() -> int:
    """Return the peak memory of this process, or what it took of the GPU where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


KILOBYTE = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit that the system counts a process's memory in."""


def predictions(
    craft: Craft[Any],
    arm: Arm,
    model: Model | VoxelModel,
    samples: Sequence[Any],
    folder: Path,
    tell: Told = untold,
) -> tuple[dict[str, Labels], float]:
    """Return an arm's label image of every sample, and the median seconds per sample.

    They are kept in `folder`, where those of another model, or of the other's masks, are deleted.
    """
    maker, timings = {"model": model_hash(model.config), "masks": arm.masks}, folder / TIMINGS
    kept = json.loads(timings.read_text(encoding="utf-8")) if timings.is_file() else {}
    if {name: kept.get(name) for name in maker} != maker:
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kept = {**maker, "seconds": {}}
    found: dict[str, Labels] = {}
    for done, sample in enumerate(samples):
        tell(done / len(samples), f"{done} of {len(samples)}")
        path = folder / f"{sample.id}_labels.tif"
        if sample.id in kept["seconds"] and path.is_file():
            found[sample.id] = label_images.read(path).reshape(sample.labels.shape)  # of one plane, as well
            continue
        began = time.perf_counter()
        found[sample.id] = craft.segment(sample, model, arm.masks)
        kept["seconds"][sample.id] = time.perf_counter() - began
        with replacing(path) as temporary:
            label_images.write_array(found[sample.id], temporary)
        with replacing(timings) as temporary:
            temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    return found, float(statistics.median(kept["seconds"].values()))


TIMINGS = "seconds.json"
"""Beside the predictions: whose they are, and the seconds that each of them took."""
