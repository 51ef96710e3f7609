"""From a prompted teacher to a student that finds its objects in one pass, by a recipe with a [distill] table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from promptless.config import DIRECT, INSTANCES, VOXELS, ModelConfig, Teacher, from_dict
from promptless.data import prepared
from promptless.data.augment import VARIETIES, WIDE
from promptless.data.sample import Sample
from promptless.export import export_direct
from promptless.io import readers
from promptless.io.readers.folders import images_in
from promptless.loading import load
from promptless.model import Model
from promptless.networks.checkpoints import WEIGHTS
from promptless.networks.direct import STUDENTS, Direct, inherited
from promptless.networks.promptable import Promptable
from promptless.registry import CONFIG, find, model_hash, verify
from promptless.train import material, processes
from promptless.train.distill import Distilling, DistillTask
from promptless.train.learned import take
from promptless.train.lessons import Lessons, apart, told
from promptless.train.loop import Schedule, fit
from promptless.train.recipes import data_folder, parsed, scales, split_in, variety_of
from promptless.train.taught import answers

Progress = Callable[[float, str], None]

PHASE, TAUGHT = "student", "taught"
"""Folders of a run: the training, and what the teacher said of each image."""
UNLABELLED = "unlabelled"
"""The category of images without labels."""
EVERY = 8
"""Of so many items one is of an image without labels, where there are any."""
PATCH = 256
SCHEDULE = Schedule(steps=3000, batch=8)
"""How a student is trained where no recipe says so."""
ASKING = 0.1
"""The share of a run's progress that asking the teacher is told as."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a student becomes."""

    source: str
    data: Path
    ids: Mapping[str, list[str]]  # "train", "dev", "test"
    unlabelled: tuple[Path, ...]  # prepared folders, of which train is taken, or folders of images
    every: int  # so many items have one without labels among them
    seed: int
    sampling: Mapping[str, float]
    variety: str
    distilling: Distilling
    student: str  # one of `STUDENTS`
    inherits: bool  # the student begins as the teacher's prompt generator
    schedule: Schedule
    patch: int
    model: ModelConfig


def is_planar(student: str) -> bool:
    """Say whether this is the name of a planar student."""
    return student in STUDENTS


def is_distillation(path: Path) -> bool:
    """Say whether a recipe file is for a planar student."""
    content = parsed(path)
    return "distill" in content and is_planar(content.get("student", ""))


def read(path: Path, *, data: Path | None = None) -> Recipe:
    """Read a recipe file; its `split` is a path beside it, `data` and `unlabelled` are folders in $PROMPTLESS_DATA.

    `data` is a prepared folder to take instead, with its own split.
    """
    content, where = parsed(path), str(path)
    check(content, where)
    training = content["training"]
    return Recipe(
        content["source"],
        data_folder(content.get("data", content["source"])) if data is None else data,
        split_in(path.parent / content["split"] if data is None else data / prepared.SPLIT),
        tuple(data_folder(name) for name in content.get("unlabelled", ())),
        content.get("every", EVERY),
        content["seed"],
        content["sampling"],
        variety_of(content, where),
        distilling(content["distill"], f"{where}, [distill]"),
        content["student"],
        content.get("inherits", True),
        from_dict(Schedule, {k: v for k, v in training.items() if k != "patch"}, f"{where}, [training]"),
        training.get("patch", PATCH),
        ModelConfig.from_dict({**content["model"], "output": DIRECT}, where),
    )


def check(content: Mapping[str, Any], where: str) -> None:
    """Raise where a recipe says what nobody reads, or does not say what it must."""
    strange, missing = sorted(set(content) - KNOWN), sorted(NEEDED - set(content))
    if strange or missing:
        problem = f"says {', '.join(strange)}, which it does not know" if strange else f"lacks {', '.join(missing)}"
        raise ValueError(f"{where} {problem}; a recipe for a planar student knows {', '.join(sorted(KNOWN))}")
    if content.get("every", EVERY) < 2:
        raise ValueError(f"{where} says every = {content['every']}; of so many items one has no labels, so 2 at least")


def recipe_for(
    how: Distilling,
    student: str,
    data: Path,
    name: str,
    *,
    unlabelled: Path | None = None,
    seed: int = 0,
    schedule: Schedule = SCHEDULE,
) -> Recipe:
    """Return what makes a student, called `name`, of a teacher and a prepared folder; thresholds are the teacher's.

    Each kind of image is drawn as often as it is there.
    """
    config = ModelConfig.read(find(how.teacher) / CONFIG)
    if config.output == VOXELS:
        raise ValueError(
            f"{config.name} is a model on volumes, and {student} learns from one on planes; name such a one"
        )
    ids = split_in(data / prepared.SPLIT)
    kinds = Counter(
        entry.get("category", prepared.UNSORTED) for entry in prepared.index(data) if entry["id"] in ids["train"]
    )
    return Recipe(
        "folder",
        data,
        ids,
        () if unlabelled is None else (unlabelled,),
        EVERY,
        seed,
        kinds,
        WIDE,
        how,
        student,
        True,
        schedule,
        PATCH,
        replace(
            config, name=name, version="1", output=DIRECT, network={}, files={}, adapter=None, classes=(), onnx=None
        ),
    )


KNOWN = {
    *("source", "data", "split", "unlabelled", "every", "seed", "sampling", "variety"),
    *("distill", "student", "inherits", "training", "model"),
}
"""What a recipe may say."""
NEEDED = {"source", "split", "seed", "sampling", "distill", "student", "training", "model"}
"""What it must say."""


def distilling(content: Mapping[str, Any], where: str) -> Distilling:
    """Return what a [distill] table says; a planar student learns from final masks, so only who and how much counts."""
    strange = sorted(set(content) - {"teacher", "weight"})
    if strange:
        raise ValueError(f"{where} says {', '.join(strange)}; for a planar student it has teacher and weight")
    return from_dict(Distilling, content, where)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: Progress = lambda done, name: None,
) -> Path:
    """Ask the teacher about every image, train the student on labels and answers, export it; return `folder`/model.

    What the teacher said is kept in `folder`/taught. With `resume` training goes on from its last checkpoint.
    """
    torch.manual_seed(recipe.seed)
    teacher, student = asked(recipe), begun(recipe)
    config = configured(recipe, teacher, student)
    samples, unlabelled = read_images(recipe)
    said = answers([*samples, *unlabelled], teacher, folder / TAUGHT, lambda done, text: progress(ASKING * done, text))
    unlabelled = [replace(sample, labels=said[sample.id].labels.astype(np.int32)) for sample in unlabelled]
    lessons = Lessons(
        samples,
        unlabelled,
        said,
        weights=recipe.sampling,
        every=recipe.every,
        size=recipe.patch,
        seed=recipe.seed,
        variety=VARIETIES[recipe.variety],
        seen=scales(recipe.model, [*samples, *unlabelled]),
    )
    task = DistillTask(student, told, apart, recipe.distilling.weight)
    mean = fit(
        task,
        lessons,
        recipe.schedule,
        folder / PHASE,
        resume=resume,
        device=device,
        identity=identity(recipe, teacher, unlabelled),
        progress=partial(tell, progress),
    )
    take(student, mean)
    if processes.main():
        export_direct(student.cpu(), config, folder / "model")
    return folder / "model"


def asked(recipe: Recipe) -> Model:
    """Return the teacher, which must decode every object on its own and tell no classes."""
    teacher = load(recipe.distilling.teacher, threads=torch.get_num_threads())
    config = teacher.config
    if config.output != INSTANCES:
        raise ValueError(f"{config.name} gives {config.output}; a planar student needs a teacher of {INSTANCES}")
    if config.classes:
        raise ValueError(
            f"{config.name} tells the classes {', '.join(config.classes)}, which a student of one pass does not learn; "
            "take a teacher without classes"
        )
    return teacher


def read_images(recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """Return the labelled images for train, and those without labels."""
    samples = list(prepared.read(recipe.data, recipe.ids["train"]))
    material.check_objects(samples)
    return samples, [unlabelled(path) for folder in recipe.unlabelled for path in unlabelled_in(folder)]


def unlabelled_in(folder: Path) -> list[Path]:
    """Return the image files of a folder; of a prepared one those for train, since the others judge models."""
    if not material.is_prepared(folder):
        return images_in([folder])
    return [prepared.image_path(folder, name) for name in split_in(folder / prepared.SPLIT)["train"]]


def unlabelled(path: Path) -> Sample:
    """Return an image without labels, under the name of its folder and its own."""
    pixels = readers.read(path).data
    return Sample(f"{path.parent}/{path.stem}", UNLABELLED, pixels, np.zeros(pixels.shape[1:], np.int32))


def begun(recipe: Recipe) -> Direct:
    """Return the student as training begins: fresh, or as the teacher's prompt generator on a coarser grid."""
    student = Direct(STUDENTS[recipe.student])
    if recipe.inherits:
        folder = find(recipe.distilling.teacher)
        config = ModelConfig.read(folder / CONFIG)
        if config.adapter is not None:
            raise ValueError(f"{config.name} is an adapter, of which no student can begin; say inherits = false")
        verify(folder, config, (WEIGHTS,))
        student.load_state_dict(inherited(student, Promptable.load(config.network, folder / WEIGHTS).generator))
    return student.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def identity(recipe: Recipe, teacher: Model, unlabelled: Sequence[Sample]) -> dict[str, Any]:
    """Return what decides what the student learns, as JSON; a run goes on only where it is the same."""
    kind = recipe.model.kind
    return {
        "source": recipe.source,
        "train": list(recipe.ids["train"]),
        "unlabelled": [Path(sample.id).name for sample in unlabelled],
        "every": recipe.every,
        "seed": recipe.seed,
        "sampling": dict(recipe.sampling),
        "variety": recipe.variety,
        "teacher": model_hash(teacher.config),
        "distill": recipe.distilling.deciding(),
        "student": asdict(STUDENTS[recipe.student]),
        "inherits": recipe.inherits,
        "schedule": recipe.schedule.deciding(),
        "patch": recipe.patch,
        "scale": [kind.pixel_size, kind.small_px],
    }


def configured(recipe: Recipe, teacher: Model, student: Direct) -> ModelConfig:
    """Return the student's configuration: tiles begin where the teacher's do, so that it can decode edited prompts."""
    check_likeness(recipe.model, teacher.config)
    step, config = student.stride, teacher.config
    if config.align % step:
        raise ValueError(
            f"tiles of {config.name} begin on multiples of {config.align} pixels, which those of a student of stride "
            f"{step} cannot; choose another student"
        )
    if recipe.patch % step:
        raise ValueError(f"patches of {recipe.patch} pixels do not suit a student of stride {step}; take a multiple")
    taught = Teacher(config.name, model_hash(config), recipe.distilling.weight)
    return replace(recipe.model, pad=step, align=config.align, teacher=taught)


def check_likeness(student: ModelConfig, teacher: ModelConfig) -> None:
    """Refuse a student of other classes or another pixel size than its teacher's."""
    if student.classes != teacher.classes:
        raise ValueError(
            f"the student tells the classes {', '.join(student.classes)}, and its teacher {teacher.name} tells "
            f"{', '.join(teacher.classes) or 'none'}; a student of one pass tells none: leave them out"
        )
    own, its = student.kind.pixel_size, teacher.kind.pixel_size
    if own != its:
        raise ValueError(
            f"the student's pixels are {own:g} um, those of its teacher {teacher.name} are {its:g} um; they must be "
            f"the same, since the teacher decodes prompts in the student's tiles: say pixel_size = {its:g}"
        )


def tell(progress: Progress, done: float, text: str) -> None:
    """Tell how far a run is."""
    progress(ASKING + (1 - ASKING) * done, f"{PHASE} {text}")
