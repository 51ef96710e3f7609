"""Ablations: one recipe, several arms that differ from it in a few places, one table."""

from __future__ import annotations

import copy
import json
import multiprocessing
import resource
import statistics
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import tomli_w
import torch
from torch.utils.flop_counter import FlopCounterMode

from promptless import evaluation
from promptless.config import from_dict
from promptless.data import prepared
from promptless.data.sample import Sample
from promptless.evaluation import Evaluation
from promptless.image import Image
from promptless.io import labels as label_images
from promptless.io.atomic import replacing, replacing_folder
from promptless.loading import load
from promptless.model import Model
from promptless.networks.adapted import Adapted
from promptless.networks.promptable import Promptable
from promptless.pipeline import coarse, segment
from promptless.registry import model_hash
from promptless.runtimes.torch import TorchModel
from promptless.train import adapters, material, recipes
from promptless.train.choosing import choose, choose_coarse
from promptless.train.measuring import Labels, image_of
from promptless.train.run import CHECKPOINT
from promptless.train.state import SHOWN, differences

Progress = Callable[[float, str], None]
Told = Callable[[int, int], None]
"""What is told how many of all steps or images are done."""

TABLE, RULES = "ablate", ("pixel", "stardist", "msa", "aji+")
COST, PREDICTIONS, RECIPE, SPLIT = "cost.json", "predictions", "recipe.toml", "split.json"
DECODED, GENERATOR = "decoded", "generator"
"""Whose masks an arm is judged by: the decoder's, or the prompt generator's own, cut by the watershed."""


@dataclass(frozen=True)
class Arm:
    """One row of the table: the recipe with some of its values changed, or a model that needs no training."""

    name: str
    about: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)  # "table.key" of the recipe -> its value here
    without: tuple[str, ...] = ()  # tables of the recipe that are left out
    after: str | None = None  # the arm whose trained generator this one begins with, where the recipes have it alike
    model: str | None = None  # a model by name or folder, as it is
    masks: str = DECODED
    x: float | None = None  # its place on the axis of a curve

    def __post_init__(self) -> None:
        if self.masks not in (DECODED, GENERATOR):
            raise ValueError(f'the arm {self.name} has masks {self.masks!r}; it must be "{DECODED}" or "{GENERATOR}"')


@dataclass(frozen=True)
class Ablation:
    """`[ablate]` of a recipe file: its arms, in the order of the table, and the one that all are compared with."""

    recipe: Mapping[str, Any]
    ids: Mapping[str, list[str]]  # "train", "dev", "test"
    arms: tuple[Arm, ...]
    reference: str
    rules: tuple[str, ...] = RULES
    x_label: str = ""  # what the numbers `x` of arms are

    def of(self, names: Sequence[str]) -> Ablation:
        """Return the ablation with some of its arms only; the reference stays."""
        known = [arm.name for arm in self.arms]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(f"there is no arm {', '.join(unknown)}; there are {', '.join(known)}")
        return replace(self, arms=tuple(arm for arm in self.arms if arm.name in {*names, self.reference}))


@dataclass(frozen=True)
class Cost:
    """What an arm took to train, and what a look at an image takes; 0 where nothing was trained."""

    seconds: float = 0.0  # of its phases
    memory_bytes: int = 0  # peak of the GPU where there is one, else of the process
    trainable: int = 0  # parameters


@dataclass(frozen=True)
class Row:
    """An arm's line of the table; `seconds` per image is the median over the images, tables and files left out."""

    arm: Arm
    cost: Cost
    seconds: float
    operations: float  # floating-point operations of one look at `LOOK` x `LOOK` pixels, prompts apart
    scores: Evaluation


def read(path: Path) -> Ablation:
    """Read a recipe file with an `[ablate]` table: `reference`, `rules`, `x_label`, and `[[ablate.arm]]`s."""
    content = recipes.parsed(path)
    if TABLE not in content:
        raise ValueError(f"{path} has no [{TABLE}] with arms to compare; `promptless train` is for a single recipe")
    table = content.pop(TABLE)
    arms = tuple(from_dict(Arm, arm, f"{path}, [[{TABLE}.arm]]") for arm in table.get("arm", ()))
    names = [arm.name for arm in arms]
    unknown = {table.get("reference", names[0] if names else ""), *(a.after for a in arms if a.after)} - set(names)
    if not arms or unknown or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: the arms are {', '.join(names) or 'missing'}; each needs a name of its own, and `reference` and "
            f"`after` the name of one" + (f" ({', '.join(sorted(unknown))} is none)" if unknown else "")
        )
    ids = recipes.split_in(path.parent / content["split"])
    rules, label = tuple(table.get("rules", RULES)), table.get("x_label", "")
    return Ablation(content, ids, arms, table.get("reference", names[0]), rules, label)


def run(
    ablation: Ablation, folder: Path, split: str = "dev", *, progress: Progress = lambda done, name: None
) -> list[Row]:
    """Train every arm in a folder of its own, segment the images of `split` with it, and compare.

    What is finished is not done again: an ablation that was stopped goes on when it is run again.
    """
    samples = list(prepared.read(recipes.data_folder(data_of(ablation.recipe)), ablation.ids[split]))
    rows = []
    for number, arm in enumerate(ablation.arms):
        steps, looks = halves(progress, number, len(ablation.arms), arm.name, split)
        model, cost = trained(ablation, arm, folder, steps)
        place = folder / arm.name / PREDICTIONS / split
        opened = load(model)
        predicted, seconds = predictions(arm, opened, samples, place, looks)
        truth = {sample.id: sample.labels for sample in samples}
        scores = evaluation.evaluate(truth, predicted, ablation.rules)
        network = opened.network if isinstance(opened, TorchModel) else network_of(model)
        rows.append(Row(arm, cost, seconds, operations(network), scores))
    return rows


def halves(progress: Progress, number: int, n_arms: int, name: str, split: str) -> tuple[Told, Told]:
    """Return what tells how far the training of an arm is, and how far its predictions are: half of its part each."""

    def training(done: int, total: int) -> None:
        """Tell of steps."""
        progress((number + 0.5 * done / total) / n_arms, f"{name}: training, step {done} of {total}")

    def predicting(done: int, total: int) -> None:
        """Tell of images."""
        progress((number + 0.5 + 0.5 * done / total) / n_arms, f"{name}: {split}, image {done} of {total}")

    return training, predicting


def data_of(recipe: Mapping[str, Any]) -> str:
    """Return the name of the prepared folder that a recipe is about."""
    return str(recipe.get("data", recipe["source"]))


def untold(done: int, total: int) -> None:
    """Tell nobody."""


def trained(ablation: Ablation, arm: Arm, folder: Path, tell: Told = untold) -> tuple[str | Path, Cost]:
    """Return an arm's model and what it cost, after training it where that is not done yet."""
    if arm.model is not None:
        return arm.model, Cost()
    place = folder / arm.name
    if (place / COST).is_file():
        check_same(ablation, arm, place)
    else:
        begin(ablation, arm, folder)
        n_steps = steps_of(recipe_of(ablation, arm))
        cost = train_apart(place, arm.masks, lambda done: tell(done, n_steps))
        with replacing(place / COST) as temporary:
            temporary.write_text(json.dumps(asdict(cost)) + "\n", encoding="utf-8")
    return place / "model", from_dict(Cost, json.loads((place / COST).read_text(encoding="utf-8")), place / COST)


def check_same(ablation: Ablation, arm: Arm, place: Path) -> None:
    """Raise where the arm that was trained in `place` is not the one that is meant now."""
    before, now = tomllib.loads((place / RECIPE).read_text(encoding="utf-8")), recipe_of(ablation, arm)
    told = differences(before, now) + differences(recipes.split_in(place / SPLIT), dict(ablation.ids))
    if told:
        raise ValueError(
            f"the arm in {place} was trained by another recipe: {'; '.join(told[:SHOWN])}; "
            "put back what the recipe said, delete that folder, or choose another with -o"
        )


def recipe_of(ablation: Ablation, arm: Arm) -> dict[str, Any]:
    """Return the recipe of an arm, as it is written beside its split."""
    return {**varied(ablation.recipe, arm), "split": SPLIT}


def begin(ablation: Ablation, arm: Arm, folder: Path) -> None:
    """Write an arm's recipe, and take over the trained generator of the arm that it comes after."""
    place = folder / arm.name
    place.mkdir(parents=True, exist_ok=True)
    content = recipe_of(ablation, arm)
    (place / SPLIT).write_text(json.dumps(ablation.ids, indent=1) + "\n", encoding="utf-8")
    (place / RECIPE).write_text(tomli_w.dumps(content), encoding="utf-8")
    if arm.after is not None and (folder / arm.after / RECIPE).is_file():
        earlier = tomllib.loads((folder / arm.after / RECIPE).read_text(encoding="utf-8"))
        source, target = (folder / name / "model" / "run" / GENERATOR for name in (arm.after, arm.name))
        if same_generator(content, earlier) and source.is_dir() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing_folder(target) as aside:
                copytree(source, aside, dirs_exist_ok=True)


def varied(recipe: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """Return a recipe with an arm's values in it."""
    content = {name: copy.deepcopy(value) for name, value in recipe.items() if name not in arm.without}
    for dotted, value in arm.set.items():
        *tables, key = dotted.split(".")
        place = content
        for table in tables:
            place = place.setdefault(table, {})
        place[key] = value
    return content


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


def train_apart(place: Path, masks: str, tell: Callable[[int], None]) -> Cost:
    """Train an arm in a process of its own, whose memory is its own; its logs say how many steps are done."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(train_arm, place, masks)
        while not wait([future], GLANCE).done:
            tell(steps_done(place))
        return future.result()


GLANCE = 0.5
"""Seconds from one look at the logs of an arm to the next."""


def steps_of(recipe: Mapping[str, Any]) -> int:
    """Return the steps of all phases of a recipe."""
    return sum(recipe[name]["steps"] for name in recipes.TASKS if name in recipe)


def steps_done(place: Path) -> int:
    """Return how many steps the logs of an arm have: a line each, below the header."""
    logs = (place / "model" / adapters.RUN).glob("*/log.csv")
    return sum(max(0, log.read_bytes().count(b"\n") - 1) for log in logs)


def train_arm(place: Path, masks: str) -> Cost:
    """Train what the recipe of an arm says, or go on; return what it cost this process.

    Thresholds are chosen on dev for the very masks that the arm is judged by.
    """
    folder, recipe = place / "model", recipes.read(place / RECIPE)
    samples = material.read(recipe.data, dict(recipe.ids))
    resume = (folder / adapters.RUN).is_dir()
    learned = adapters.learn(recipe, samples, folder, resume=resume, choose=CHOOSERS[masks])
    assert learned is not None
    peak = peak_bytes()
    adapters.install(folder / adapters.RUN / adapters.CANDIDATE, folder)
    return Cost(seconds_of(folder), peak, learned.n_trainable)


def peak_bytes() -> int:
    """Return the peak memory of this process, or what it took of the GPU where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


def network_of(name: str | Path) -> Adapted | Promptable:
    """Return the network in a model, by name or folder, as torch has it."""
    model = load(name, runtime="torch")
    assert isinstance(model, TorchModel)
    return model.network


def operations(network: Adapted | Promptable) -> float:
    """Return the floating-point operations of one look at `LOOK` x `LOOK` pixels; nothing is computed."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta").encode(torch.empty(1, 3, LOOK, LOOK))
    return float(counter.get_total_flops())


LOOK = 1024
"""Pixels per side of the image that operations are counted for."""


def seconds_of(folder: Path) -> float:
    """Return the seconds that an adapter's phases took, those before an interruption and those taken over included."""
    checkpoints = (folder / adapters.RUN).glob(f"*/{CHECKPOINT}")
    return sum(float(torch.load(path, weights_only=True, map_location="cpu")["seconds"]) for path in checkpoints)


KILOBYTE = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit that the system counts a process's memory in."""


def predictions(
    arm: Arm, model: Model, samples: Sequence[Sample], folder: Path, tell: Told = untold
) -> tuple[dict[str, Labels], float]:
    """Return an arm's label image of every sample, and the median seconds per image.

    They are kept in `folder`, where those of another model, or of the other's masks, are deleted.
    """
    maker, timings = {"model": model_hash(model.config), "masks": arm.masks}, folder / SECONDS
    kept = json.loads(timings.read_text(encoding="utf-8")) if timings.is_file() else {}
    if {name: kept.get(name) for name in maker} != maker:
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kept = {**maker, "seconds": {}}
    found: dict[str, Labels] = {}
    for done, sample in enumerate(samples):
        tell(done, len(samples))
        path = folder / f"{sample.id}_labels.tif"
        if sample.id in kept["seconds"] and path.is_file():
            found[sample.id] = label_images.read(path)
            continue
        began = time.perf_counter()
        found[sample.id] = SEGMENTERS[arm.masks](image_of(sample), model)
        kept["seconds"][sample.id] = time.perf_counter() - began
        with replacing(path) as temporary:
            label_images.write_array(found[sample.id], temporary)
        with replacing(timings) as temporary:
            temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    return found, float(statistics.median(kept["seconds"].values()))


SECONDS = "seconds.json"
"""Beside the predictions: whose they are, and the seconds that each of them took."""


def decoded(image: Image, model: Model) -> Labels:
    """Return the label image that `segment` gives."""
    return segment(image, model).labels


SEGMENTERS: dict[str, Callable[[Image, Model], Labels]] = {DECODED: decoded, GENERATOR: coarse}
CHOOSERS = {DECODED: choose, GENERATOR: choose_coarse}
