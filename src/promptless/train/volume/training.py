"""From labelled scans to a model on volumes: the story of `promptless train` with a recipe for voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from promptless import library
from promptless.config import AUTOPROSAM, ModelConfig
from promptless.data import prepared, volumes
from promptless.io.atomic import replacing_folder
from promptless.io.hashes import sha256
from promptless.io.label_files import LabelImage
from promptless.io.scores import read_numbers, write_table
from promptless.loading import load
from promptless.networks.adapted import n_trainable
from promptless.networks.backbones import Backbone
from promptless.networks.volume import models
from promptless.pipeline import segment
from promptless.registry import CONFIG
from promptless.runtimes.torch import TorchVoxelModel, voxel_model
from promptless.train import devices, processes
from promptless.train.distill import of_student
from promptless.train.keeping import CANDIDATE, RUN, cleared, finished, put
from promptless.train.learned import take
from promptless.train.looks import SCORES, having
from promptless.train.loop import fit
from promptless.train.run import CHECKPOINT, reached
from promptless.train.volume import cases, lessons, report, room
from promptless.train.volume.cases import Case, Told
from promptless.train.volume.measuring import DECIDES, Labels, found, mean_dice, measured, score, table
from promptless.train.volume.recipe import TRAIN, VolumeRecipe
from promptless.train.volume.report import CARD, Report, card

CASES = "cases"
"""Within the folder of a training: the scans as the model sees them."""
HELD_OUT = ("dev", "test")


def train(
    recipe: VolumeRecipe,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    device: str = "auto",
    progress: Told = lambda done, name: None,
) -> Outcome | None:
    """Train what a recipe says, measure it on dev and test, and write it into `folder`; the training is in run/ there.

    One that is worse on dev than the model that is in `folder` is kept in `folder`/run/refused, unless `force`.
    Of several processes only the first measures and writes; the others return nothing.
    """
    learned = learn(recipe, folder, (TRAIN, *HELD_OUT), resume=resume, device=device, progress=progress)
    if learned is None:
        return None
    run, model = folder / RUN, learned.model
    network = models.load(run / CANDIDATE, model, learned.backbone).to(devices.find(device))
    told = judged(recipe, voxel_model(network, model), learned.seen, learned.n_trainable, progress)
    notes = report.write(told, run)
    (run / CANDIDATE / CARD).write_text(card(told.report), encoding="utf-8")
    place, refusal = put(folder, None if force else why_not(told.report, recipe, folder, device))
    return Outcome(place, told.report, tuple(notes), refusal)


@dataclass(frozen=True)
class Outcome:
    """Where the model that was trained lies: in its folder, or aside where a better one was there; and what to say.

    `refusal` says why it lies aside.
    """

    folder: Path
    report: Report
    notes: tuple[str, ...] = ()
    refusal: str | None = None


@dataclass(frozen=True)
class Learned:
    """What training leaves in run/candidate, not measured yet, and the scans by part."""

    model: ModelConfig
    backbone: Backbone | None
    n_trainable: int
    seen: Mapping[str, Sequence[Case]]


def learn(
    recipe: VolumeRecipe,
    folder: Path,
    parts: Sequence[str] = (TRAIN, "dev"),
    *,
    resume: bool = False,
    device: str = "auto",
    progress: Told = lambda done, name: None,
) -> Learned | None:
    """Train what a recipe says, and leave the model in run/candidate; scans of `parts` are made ready before.

    Of several processes only the first writes; the others return None.
    """
    run = folder / RUN
    check_classes(recipe)
    if processes.main():
        check(recipe, folder, resume)
    if processes.main() and not resume:
        cleared(run, TRAIN)
    seen = {part: ready(recipe, part, run, progress) for part in parts}
    recipe, backbone = completed(recipe)
    network, mean = followed(recipe, backbone, seen, run, resume=resume, device=device, progress=progress)
    if not processes.main():
        return None
    take(network, mean)
    model = written(network.cpu(), recipe.model, run / CANDIDATE)
    return Learned(model, backbone, n_trainable(network), seen)


# Before.


def check(recipe: VolumeRecipe, folder: Path, resume: bool) -> None:
    """Refuse a folder that holds something else, a training that was interrupted, or nothing to resume.

    A model that is there must be comparable with the new one.
    """
    run = folder / RUN
    if resume and not run.is_dir():
        raise FileNotFoundError(f"there is no training in {folder} to go on with; leave out --resume to begin one")
    if is_model(folder):
        check_comparable(recipe, folder)
    if resume or not folder.is_dir():
        return
    if (run / TRAIN / CHECKPOINT).is_file() and not finished(run):
        raise FileExistsError(
            f"{run} has a training that was interrupted; --resume goes on with it, another folder (-o) begins anew, "
            f"and so does deleting {run}"
        )
    if {path.name for path in folder.iterdir()} - {RUN} and not is_model(folder):
        raise FileExistsError(f"{folder} holds other things than a training; choose another folder with -o")


def is_model(folder: Path) -> bool:
    """Say whether a folder holds a model on volumes."""
    return (folder / CONFIG).is_file() and ModelConfig.read(folder / CONFIG).volume is not None


def check_comparable(recipe: VolumeRecipe, folder: Path) -> None:
    """Refuse to train where the model that is there could not be compared with the new one in the end."""
    there = ModelConfig.read(folder / CONFIG)
    if there.classes != recipe.model.classes:
        raise ValueError(
            f"the model in {folder} tells {', '.join(there.classes)} apart, and the recipe "
            f"{', '.join(recipe.model.classes)}; choose another folder with -o"
        )
    try:
        load(folder, device="cpu")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the model in {folder} could not be compared with a new one: {error}; or choose another folder with -o"
        ) from error


def goes_on_at(recipe: VolumeRecipe, folder: Path) -> str | None:
    """Return the step at which training in `folder` goes on, for people; None at its end."""
    step, seconds = reached(folder / RUN / TRAIN)
    done = recipe.schedule.share(step, seconds) == 1
    return None if done else f"step {recipe.schedule.told(step + 1, seconds)}"


def check_classes(recipe: VolumeRecipe) -> None:
    """Raise where the data set names other classes than the recipe."""
    known = [name for _, name in sorted(prepared.class_names(recipe.data).items())]
    names = recipe.model.classes
    if known and [name.casefold() for name in names] != [name.casefold() for name in known]:
        raise ValueError(
            f"the recipe's classes are {', '.join(names)}, but those of {recipe.data / prepared.SET} are "
            f"{', '.join(known)}; name all of them, in that order"
        )


def ready(recipe: VolumeRecipe, part: str, run: Path, progress: Told) -> list[Case]:
    """Return the scans of train, dev or test as the model sees them."""
    volume, ids = recipe.model.volume, recipe.ids.get(part, [])
    assert volume is not None
    if not ids and part != "test":
        raise ValueError(f"no scan of {recipe.data} is for {part}; name some in {prepared.SPLIT}")
    return cases.ready(recipe.data, ids, volume, len(recipe.model.classes), run / CASES, progress)


def completed(recipe: VolumeRecipe) -> tuple[VolumeRecipe, Backbone | None]:
    """Return a recipe whose model names its backbone by hash, and the backbone; None where there is none."""
    volume, sizes = recipe.model.volume, recipe.model.network
    assert volume is not None
    if volume.network != AUTOPROSAM:
        return recipe, None
    name = library.named(sizes["backbone"])
    backbone = library.load(name)
    model = replace(recipe.model, network={**sizes, "backbone": name, "sha256": backbone.digest})
    return replace(recipe, model=model), backbone


# Training.


def followed(
    recipe: VolumeRecipe,
    backbone: Backbone | None,
    seen: Mapping[str, Sequence[Case]],
    run: Path,
    *,
    resume: bool,
    device: str,
    progress: Told,
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the network, and the running mean of what it has learned."""
    torch.manual_seed(recipe.seed)
    network = models.begun(recipe.model, backbone)
    if recipe.start is not None:
        models.begin_with(network, recipe.start)
    assert recipe.model.volume is not None
    room.check(network, recipe.model.volume.crop, recipe.schedule, devices.find(device), processes.launched_count())
    look = Look(network, recipe, seen["dev"], run / TRAIN)
    task, crops = lessons.begun(recipe, network, seen[TRAIN], run, device, progress)
    mean = fit(
        task,
        crops,
        recipe.schedule,
        run / TRAIN,
        resume=resume,
        device=device,
        identity=recipe.identity(),
        progress=lambda done, text: progress(done, f"step {text}"),
        watch=lambda step, mean, done: look(step, of_student(mean), done),
    )
    return network, of_student(mean)


@dataclass(frozen=True)
class Look:
    """What the running mean scores on dev, now and then; `scores.csv` beside the log.

    A look depends on the weights alone, so a step that was looked at before a run was killed is not looked at again.
    """

    network: nn.Module
    recipe: VolumeRecipe
    dev: Sequence[Case]
    folder: Path

    def __call__(self, step: int, mean: Mapping[str, Tensor], done: float) -> None:
        """Look, where it is time, at the network with the weights `mean`."""
        every, path = self.recipe.look_every, self.folder / SCORES
        before = read_numbers(path)
        due = done == 1 or (every is not None and step % every == 0)
        if not step or step in before or not due:
            return
        truth = {case.id: case.labels for case in self.dev}
        with having(self.network, self.network, mean):
            model = TorchVoxelModel(self.network, self.recipe.model)
            predicted = {case.id: found(model, case.image, case.labels.shape) for case in self.dev}
        rows = sorted({**before, step: mean_dice(truth, predicted)}.items())
        write_table(path, ("step", DECIDES), rows)


# After.


def written(network: nn.Module, model: ModelConfig, folder: Path) -> ModelConfig:
    """Write a model into a folder of its own, and return its configuration with all sizes and the hash of each file."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as aside:
        names = models.save(network, aside)
        files = {name: sha256(aside / name) for name in names}
        model = replace(model, network=models.sizes_of(model), files=files)
        model.write(aside / CONFIG)
    return model


def judged(
    recipe: VolumeRecipe, model: TorchVoxelModel, seen: Mapping[str, Sequence[Case]], n_parameters: int, tell: Told
) -> report.Told:
    """Return how good a model is on scans that it has not learned from, on their own grids."""
    evaluations, tables = {}, {}
    for part in HELD_OUT:
        if not seen[part]:
            continue
        truth, predicted = dict[str, LabelImage](), dict[str, Labels]()
        samples = volumes.read(recipe.data, recipe.ids[part])
        for i, (sample, case) in enumerate(zip(samples, seen[part], strict=True)):
            tell(i / len(seen[part]), f"measuring, {part} {i + 1} of {len(seen[part])}")
            truth[sample.id] = LabelImage(sample.labels, sample.image.spacing)
            predicted[sample.id] = found(model, case.image, sample.image.shape)
        evaluations[part] = measured(truth, predicted)
        tables[part] = table(evaluations[part], model.config.classes)
    facts = prepared.facts(recipe.data)
    ids = {part: [case.id for case in seen[part]] for part in (TRAIN, *HELD_OUT)}
    return report.Told(Report(model.config, facts, ids, n_parameters, recipe.schedule, tables), evaluations)


def why_not(told: Report, recipe: VolumeRecipe, folder: Path, device: str) -> str | None:
    """Return why a model must not take the place of what is in `folder`, None where it may."""
    if not is_model(folder):
        return None
    there, samples = load(folder, device=device), list(volumes.read(recipe.data, recipe.ids["dev"]))
    truth = {sample.id: LabelImage(sample.labels, sample.image.spacing) for sample in samples}
    evaluation = measured(truth, {sample.id: segment(sample.image, there).labels for sample in samples})
    before = score(table(evaluation, there.config.classes))
    if told.score >= before:
        return None
    return (
        f"the model in {folder} is better on the same scans ({len(samples)} for dev): {DECIDES} {before:.3f}, the new "
        f"one {told.score:.3f}"
    )
