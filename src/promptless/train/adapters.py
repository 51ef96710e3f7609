"""From images with label masks, and a backbone, to an adapter: the story of `promptless train` in a laboratory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.measure import regionprops

from promptless import library
from promptless.config import INSTANCES, SEMANTIC, Kind, ModelConfig
from promptless.data import prepared
from promptless.data.augment import NUCLEUS_PX
from promptless.data.sample import Sample
from promptless.io.hashes import sha256
from promptless.loading import load
from promptless.model import Model
from promptless.networks import adapted
from promptless.networks.adapted import Adapted
from promptless.networks.backbones import Backbone
from promptless.registry import CONFIG, verify
from promptless.runtimes.torch import TorchModel
from promptless.train import devices, material, origin, processes, recipes, report
from promptless.train.card import CARD, card
from promptless.train.choosing import Choice, Chooser, choose
from promptless.train.keeping import CANDIDATE, RUN, cleared, finished, put
from promptless.train.looks import Looks
from promptless.train.measuring import Labels, Line, Told, compare, score, segmented
from promptless.train.recipes import GENERATOR, TASKS, Progress, Recipe, follow
from promptless.train.report import BASE, Report

DATA, SPLIT = "data", "split.json"
"""Within the folder of a training: what it learns from."""
RECIPE = Path(__file__).parent.parent / "recipes" / "adapt.toml"
"""What is done where no recipe is named."""
SPREAD = (5, 95)
"""Percentiles of the diameters of objects between which a model says it knows objects."""


@dataclass(frozen=True)
class Learned:
    """What training leaves in run/candidate, not measured yet."""

    model: ModelConfig
    backbone: Backbone
    choice: Choice
    n_trainable: int


@dataclass(frozen=True)
class Outcome:
    """Where the adapter that was trained lies: in its folder, or aside where a better one was there; and what to say.

    `refusal` says why it lies aside.
    """

    folder: Path
    report: Report
    notes: tuple[str, ...] = ()
    refusal: str | None = None


def recipe_for(
    path: Path | None,
    folder: Path,
    *,
    data: Path | None = None,
    backbone: str | None = None,
    resume: bool = False,
    progress: Progress = lambda done, name: None,
) -> Recipe:
    """Return the recipe that is meant, the one that ships where none is named, after preparing `data` where need be."""
    path = path or RECIPE
    if "adapter" in recipes.parsed(path) and processes.main():
        check(folder, resume)
    if data is not None:
        meant = recipes.without_split(path, data=data, backbone=backbone)
        if meant.adapter is not None:
            library.named(meant.adapter.backbone)
    if data is None and resume:
        data = begun_with(folder / RUN)
    elif data is not None:
        if processes.launched() and not material.is_prepared(data):
            raise ValueError(
                f"several processes need a prepared folder: promptless data prepare folder {data} -o FOLDER"
            )
        data = material.ready(data, folder / RUN / DATA, resume=resume, progress=progress)
    return recipes.read(path, data=data, backbone=backbone)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    device: str = "auto",
    progress: Progress = lambda done, name: None,
) -> Outcome | None:
    """Train an adapter as a recipe says, measure it, and write it into `folder`; the training itself is in run/ there.

    One that is worse on dev than the adapter that is in `folder` is kept in `folder`/run/refused, unless `force`.
    Of several processes only the first measures and writes; the others return nothing.
    """
    samples = material.read(recipe.data, dict(recipe.ids))
    learned = learn(recipe, samples, folder, resume=resume, device=device, progress=progress)
    if learned is None:
        return None
    run, model = folder / RUN, learned.model
    held_out = {part: samples[part] for part in ("dev", "test") if samples[part]}
    adapter = TorchModel(adapted.load(learned.backbone, run / CANDIDATE, model).to(devices.find(device)), model)
    found, tables = measured(adapter, held_out, progress)
    told = Report(
        model,
        prepared.facts(recipe.data),
        {part: [sample.id for sample in samples[part]] for part in samples},
        sum(sample.n_objects for sample in samples["train"]),
        learned.n_trainable,
        tuple(recipe.phases),
        learned.choice,
        tables,
    )
    notes = report.write(told, run, [sample for part in held_out.values() for sample in part], found)
    notes += unsized(recipe) + outsized(samples["train"])
    (run / CANDIDATE / CARD).write_text(card(told), encoding="utf-8")
    return kept(told, tuple(notes), folder, samples["dev"], force, device)


def learn(
    recipe: Recipe,
    samples: Mapping[str, Sequence[Sample]],
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    choose: Chooser = choose,
    progress: Progress = lambda done, name: None,
) -> Learned | None:
    """Train an adapter through the phases of a recipe, `choose` its thresholds on dev, and leave it in run/candidate.

    Of several processes only the first one chooses and writes; the others return None.
    """
    if recipe.model.output == INSTANCES:
        material.check_objects([sample for part in samples.values() for sample in part])
    run, where = folder / RUN, devices.find(device)
    if processes.main():
        check(folder, resume)
        begin(run, recipe, resume)
    recipe, backbone = completed(recipe, samples["train"])
    recipes.check_classes(recipe, samples["train"])
    torch.manual_seed(recipe.seed)
    network = adapted.begun(backbone, recipe.model).to(where)
    n_parameters = adapted.n_trainable(network)
    steps = {name: phase.schedule.steps for name, phase in recipe.phases.items()}
    looks = Looks(network, recipe.model, samples["dev"], run, steps)
    follow(recipe, network, samples["train"], run, resume=resume, device=device, progress=progress, watch=looks)
    if not processes.main():
        return None
    model, choice = choose(network, recipe.model, samples["dev"], progress)
    return Learned(write(network, model, run / CANDIDATE), backbone, choice, n_parameters)


# Before.


def check(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds something else than an adapter, an unfinished training, or nothing to resume."""
    run = folder / RUN
    if is_adapter(folder):
        check_comparable(folder)
    if resume:
        if not run.is_dir():
            raise FileNotFoundError(f"there is no training in {folder} to go on with; leave out --resume to begin one")
        return
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    ours = is_adapter(folder) or (run / SPLIT).is_file() or (run / DATA).is_dir()
    if there and not ours:
        raise FileExistsError(f"{folder} holds other things than an adapter; choose another folder with -o")
    begun = [name for name in TASKS if (run / name / "checkpoint.pt").is_file()]
    if begun and not finished(run):
        raise FileExistsError(
            f"{run} has a training that was interrupted; --resume goes on with it, another folder (-o) begins anew, "
            f"and so does deleting {run}"
        )


def check_comparable(folder: Path) -> None:
    """Refuse to train where the adapter that is there could not be compared with the new one in the end."""
    there = ModelConfig.read(folder / CONFIG)
    assert there.adapter is not None
    try:
        verify(folder, there, adapted.files(there.adapter))
        library.under(there.adapter)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the adapter in {folder} could not be compared with a new one: {error}; or choose another folder with -o"
        ) from error


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter."""
    return (folder / CONFIG).is_file() and ModelConfig.read(folder / CONFIG).adapter is not None


def begin(run: Path, recipe: Recipe, resume: bool) -> None:
    """Make the folder of the training, without what a finished one has left there, and write the split down."""
    if not resume:
        cleared(run, *TASKS)
    run.mkdir(parents=True, exist_ok=True)
    if recipe.data != run / DATA and resume:
        origin.check(run, recipe.data)
    elif recipe.data != run / DATA:
        origin.write(run, origin.origin(recipe.data, recipe.data.resolve()))
    (run / SPLIT).write_text(json.dumps(dict(recipe.ids), indent=1) + "\n", encoding="utf-8")


def begun_with(run: Path) -> Path | None:
    """Return the prepared folder that a training began with, None where it is not known."""
    began = origin.read(run)
    return None if began is None else run / began.prepared


def completed(recipe: Recipe, samples: Sequence[Sample]) -> tuple[Recipe, Backbone]:
    """Return a recipe with what its backbone and its data say, and the backbone."""
    assert recipe.adapter is not None
    name = library.named(recipe.adapter.backbone)
    backbone = library.load(name)
    config = replace(recipe.adapter, backbone=name, sha256=backbone.digest)
    model = replace(
        recipe.model,
        adapter=config,
        kind=fitted(recipe.model.kind, recipe.said, samples),
        window=replace(recipe.model.window, stride=backbone.stride),
        input_size=recipe.model.input_size or seen(recipe) or backbone.image_size,
    )
    return replace(recipe, adapter=config, model=model), backbone


def seen(recipe: Recipe) -> int | None:
    """Return the side of the patches that one mask is learned from, as large as tiles should be; else None."""
    learned_from = [phase.patch for name, phase in recipe.phases.items() if name != GENERATOR]
    return learned_from[-1] if learned_from and recipe.model.output == SEMANTIC else None


def fitted(kind: Kind, said: Set[str], samples: Sequence[Sample]) -> Kind:
    """Return what a model is for, as its images show it where nothing was said: pixel size, sizes of objects."""
    sizes = [sample.mpp for sample in samples if sample.mpp is not None]
    shown: dict[str, Any] = {"object_px": span(samples)}
    if sizes:
        shown["pixel_size"] = float(np.median(sizes))
    return replace(kind, **{name: value for name, value in shown.items() if name not in said})


def span(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return between which diameters (of the disc of equal area) nearly all objects lie, in pixels."""
    diameters = [region.equivalent_diameter_area for sample in samples for region in regionprops(sample.labels)]
    low, high = np.percentile(diameters, SPREAD)
    return round(float(low), 1), round(float(high), 1)


# After.


def write(network: Adapted, model: ModelConfig, folder: Path) -> ModelConfig:
    """Write an adapter into a folder of its own, and return its configuration with the hash of each file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = adapted.save(network, folder)
    model = replace(model, files={name: sha256(folder / name) for name in names})
    model.write(folder / CONFIG)
    return model


def unsized(recipe: Recipe) -> list[str]:
    """Return what to say where nobody knows the size of a pixel: images that know theirs would be resampled wrongly."""
    learned_from = set(recipe.ids["train"])
    entries = [entry for entry in prepared.index(recipe.data) if entry["id"] in learned_from]
    if "pixel_size" in recipe.said or any(entry.get("mpp") is not None for entry in entries):
        return []
    assumed = f"the size of a pixel is not known, so the adapter takes it for {recipe.model.kind.pixel_size:g} um; "
    remedy = "where it is another, prepare the images with --mpp (promptless data prepare folder) and train again"
    return [assumed + remedy]


def outsized(samples: Sequence[Sample]) -> list[str]:
    """Return what to say where training shows objects larger or smaller than they are in the images."""
    low, high = NUCLEUS_PX
    strange = {sample.id: sample.diameter for sample in samples if not low <= sample.diameter <= high}
    if not strange:
        return []
    name, diameter = next(iter(strange.items()))
    told = (
        f"objects in {len(strange)} of {len(samples)} images for train are outside {low:g} to {high:g} pixels across "
        f"({name}: {diameter:.0f}); they were learned as if brought into that range, and are met as they are: resize "
        "images and masks alike, and train again"
    )
    return [told]


def measured(
    adapter: Model, held_out: Mapping[str, Sequence[Sample]], tell: Told
) -> tuple[dict[str, Labels], dict[str, list[Line]]]:
    """Return what an adapter finds in images that it has not learned from, and its figures beside those of `BASE`."""
    everything = [sample for part in held_out.values() for sample in part]
    before = segmented(load(BASE), everything, lambda done, text: tell(done, f"measuring {BASE}, {text}"))
    after = segmented(adapter, everything, lambda done, text: tell(done, f"measuring, {text}"))
    return after, {part: compare(adapter.config, samples, before, after) for part, samples in held_out.items()}


def kept(
    told: Report, notes: tuple[str, ...], folder: Path, dev: Sequence[Sample], force: bool, device: str = "auto"
) -> Outcome:
    """Move the candidate to its place: into `folder`, or aside where a better one is there."""
    place, refusal = put(folder, None if force else why_not(told, folder, dev, device))
    return Outcome(place, told, notes, refusal)


def why_not(told: Report, folder: Path, dev: Sequence[Sample], device: str) -> str | None:
    """Return why an adapter must not take the place of what is in `folder`, None where it may."""
    if not is_adapter(folder):
        return None
    there = load(folder, device=device)
    if there.config.output != told.config.output:
        return f"the adapter in {folder} gives {there.config.output}, the new one {told.config.output}"
    before = score(there.config, dev, segmented(there, dev))
    if told.score >= before:
        return None
    return (
        f"the adapter in {folder} is better on the same images ({len(dev)} for dev): "
        f"{told.decides} {before:.3f}, the new one {told.score:.3f}"
    )
