"""What a recipe for a model on volumes says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from promptless.config import AUTOPROSAM, VOLUME_AXES, VOXELS, ModelConfig, Teacher, from_dict
from promptless.data import prepared, volumes
from promptless.data.splits import place
from promptless.io.hashes import sha256
from promptless.io.scans.folders import scans_in
from promptless.networks.volume import models
from promptless.registry import model_hash
from promptless.train import processes
from promptless.train.distill import Distilling
from promptless.train.recipes import data_folder, parsed, split_in
from promptless.train.schedule import Schedule
from promptless.train.volume import teachers
from promptless.train.volume.clicks import Clicking
from promptless.train.volume.variety import PUBLISHED, VARIETIES

TRAIN = "train"
"""The table of the schedule, and the folder of the run."""
UNLABELLED = "unlabelled"
"""The part of the ids whose labels are not read; and in a recipe, a folder of other scans that have none."""
LOOKS = 10
"""So often dev is looked at, where the recipe does not say; once, at the end, where it lasts so many minutes."""
KNOWN = {"data", "seed", "start", "variety", "flips", TRAIN, "model", "ablate", "distill", UNLABELLED, "clicks"}
"""What a recipe may say; `ablate` is for `promptless ablate`."""


@dataclass(frozen=True)
class VolumeRecipe:
    """Everything that decides what a training on volumes yields."""

    data: Path
    ids: Mapping[str, list[str]]  # "train", "dev", "test": names of files in data/images
    seed: int
    schedule: Schedule
    look_every: int | None  # steps between looks at dev; None: one at the end
    variety: str  # of the crops, by its name in `VARIETIES`
    flips: str  # axes along which a scan may be turned round: "zyx" all, "zy" where labels have a side, "" none
    model: ModelConfig = field(repr=False)  # the hash of its backbone is known once that is loaded
    start: Path | None = None  # a model of the same sizes, whose weights the training begins with
    distill: Distilling | None = None  # who teaches, and how; `model.teacher` has its hash
    unlabelled: Path | None = None  # a folder of scans that the teacher alone speaks of
    clicks: Clicking | None = None  # how a user's clicks are simulated, where the network takes any

    @property
    def scans(self) -> list[Path]:
        """The scans without labels: those of the data set that the teacher alone speaks of, then the others."""
        own = [self.data / "images" / file_of(name) for name in self.ids.get(UNLABELLED, [])]
        return own + ([] if self.unlabelled is None else scans_in([self.unlabelled]))

    @property
    def mirrored(self) -> tuple[int, ...]:
        """The axes of `flips` by number."""
        return tuple(VOLUME_AXES.index(axis) for axis in self.flips)

    def identity(self) -> dict[str, Any]:
        """Return what decides what the training yields, as JSON; a run goes on only where it is the same."""
        volume = asdict(self.model)["volume"]
        del volume["mirrored"]  # what `flips` says
        model = {"volume": volume, "network": self.model.network, "classes": self.model.classes}
        begun = {} if self.start is None else {"start": sha256(self.start / models.TRAINED)}
        clicked = {} if self.clicks is None else {"clicks": asdict(self.clicks)}
        return {
            **begun,
            **clicked,
            **self.teaching(),
            "seed": self.seed,
            "train": list(self.ids[TRAIN]),
            "variety": self.variety,
            "flips": self.flips,
            "phase": {"schedule": self.schedule.deciding()},
            "model": model,
        }

    def teaching(self) -> dict[str, Any]:
        """Return what decides what the teacher adds, as JSON; nothing where there is none."""
        if self.distill is None or self.model.teacher is None:
            return {}
        taught = {**self.distill.deciding(), "teacher": self.model.teacher.sha256}
        return {"distill": taught, UNLABELLED: [path.name for path in self.scans]}


def is_for_volumes(path: Path) -> bool:
    """Say whether a recipe file is for a model on volumes."""
    return bool(parsed(path).get("model", {}).get("output") == VOXELS)


def read(path: Path, *, data: Path | None = None, backbone: str | None = None) -> VolumeRecipe:
    """Read a recipe file; its `data` is a folder in $PROMPTLESS_DATA with split.json, images/ and labels/.

    `data` is such a folder to take instead; `backbone` the one to take instead.
    """
    content, where = parsed(path), str(path)
    strange = sorted(set(content) - KNOWN)
    if strange:
        raise ValueError(f"{path} says {', '.join(strange)}; a recipe for volumes knows {', '.join(sorted(KNOWN))}")
    missing = sorted(({"seed", TRAIN, "model"} | ({"data"} if data is None else set())) - set(content))
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}" + ("; or say --data FOLDER" if "data" in missing else ""))
    folder = data if data is not None else data_folder(content["data"])
    table = dict(content[TRAIN])
    look_every = table.pop("look_every", None)
    schedule = from_dict(Schedule, table, f"{where}, [{TRAIN}]")
    variety, flips = content.get("variety", PUBLISHED), content.get("flips", VOLUME_AXES)
    check_variety(variety, flips, where)
    distill = from_dict(Distilling, content["distill"], f"{where}, [distill]") if "distill" in content else None
    model = turned(on_backbone(ModelConfig.from_dict(content["model"], where), backbone, where), flips)
    recipe = VolumeRecipe(
        folder,
        split_in(folder / prepared.SPLIT),
        content["seed"],
        schedule,
        look_every or looked_at_every(schedule),
        variety,
        flips,
        model,
        begun_with(content.get("start"), where),
        clicks=clicking(content.get("clicks"), model, where),
    )
    unlabelled = content.get(UNLABELLED)
    return distilled(recipe, distill, None if unlabelled is None else Path(unlabelled), where)


def turned(model: ModelConfig, flips: str) -> ModelConfig:
    """Return a model that knows along which axes its scans were turned round."""
    assert model.volume is not None, "the recipe is for volumes"
    return replace(model, volume=replace(model.volume, mirrored=flips))


def distilled(recipe: VolumeRecipe, how: Distilling | None, unlabelled: Path | None, where: str) -> VolumeRecipe:
    """Return a recipe with a teacher, whose model must look at scans as the recipe's does; None: with no teacher."""
    if how is None:
        if unlabelled is not None:
            raise ValueError(f"{where} names scans without labels, and no teacher for them; add [distill]")
        return recipe
    if recipe.clicks is not None:
        raise ValueError(
            f"{where} has a teacher and a network with points, and clicks are simulated by labels alone; leave out "
            "[distill], or write points = 0"
        )
    teacher = teachers.config_of(how.teacher)
    teachers.check(recipe.model, teacher)
    train, rest = shared_out(recipe.ids[TRAIN], how.labelled)
    model = replace(recipe.model, teacher=Teacher(teacher.name, model_hash(teacher), how.weight))
    ids = {**recipe.ids, TRAIN: train, **({UNLABELLED: rest} if rest else {})}
    recipe = replace(recipe, ids=ids, model=model, distill=how, unlabelled=unlabelled)
    if unlabelled is not None and not unlabelled.exists():
        raise FileNotFoundError(f"there is no {unlabelled}, which {where} names for scans without labels")
    if recipe.scans:
        check_turns(recipe.schedule, how, where)
    return recipe


def shared_out(names: list[str], labelled: int | None) -> tuple[list[str], list[str]]:
    """Return the names of the scans that have labels, the first so many by hash, and of the rest; each in order."""
    if labelled is None:
        return names, []
    if labelled > len(names):
        raise ValueError(f"labelled is {labelled}, and there are {len(names)} scans to train with")
    chosen = set(sorted(names, key=lambda name: place(name.removesuffix(volumes.SUFFIX)))[:labelled])
    return [name for name in names if name in chosen], [name for name in names if name not in chosen]


def check_turns(schedule: Schedule, how: Distilling, where: str) -> None:
    """Refuse scans without labels from which nothing would be learned, and batches in which they have no turn."""
    if how.weight == 0:
        raise ValueError(f"{where} gives the teacher a weight of 0, and scans without labels, which it alone speaks of")
    count = processes.launched_count()
    if schedule.micro_batch(count) % 2:
        raise ValueError(
            f"labelled scans and others take turns, so each micro-batch must be even; {where} says batch = "
            f"{schedule.batch}, accumulate = {schedule.accumulate}"
            + (f", of which each of {count} processes takes its share" if count > 1 else "")
        )


def file_of(name: str) -> str:
    """Return the name of a scan's file in a data set; a split may have it with its suffix or without."""
    return name.removesuffix(volumes.SUFFIX) + volumes.SUFFIX


def looked_at_every(schedule: Schedule) -> int | None:
    """Return how many steps lie between looks at dev where a recipe does not say."""
    return None if schedule.steps is None else max(1, schedule.steps // LOOKS)


def begun_with(start: str | None, where: str) -> Path | None:
    """Return the model folder that a recipe begins with, None where it says none."""
    if start is None:
        return None
    if not (Path(start) / models.TRAINED).is_file():
        raise FileNotFoundError(
            f'{where} says start = "{start}", which holds no {models.TRAINED}; name a model on volumes'
        )
    return Path(start)


def clicking(table: Mapping[str, Any] | None, model: ModelConfig, where: str) -> Clicking | None:
    """Return how clicks are simulated for a network with channels for them; None for one without."""
    channels, wanted = model.network.get("points", 0), 1 + len(model.classes)
    if not channels:
        if table is not None:
            raise ValueError(
                f"{where} has [clicks], and its network takes none; write points = {wanted} into [model.network], a "
                "channel for each class and one for the background, or leave [clicks] out"
            )
        return None
    if channels != wanted:
        raise ValueError(
            f"{where} says points = {channels}; there are {len(model.classes)} classes, and a click has one of them or "
            f"the background: write points = {wanted}, or 0 for a network that takes no clicks"
        )
    return from_dict(Clicking, table or {}, f"{where}, [clicks]")


def check_variety(variety: str, flips: str, where: str) -> None:
    """Refuse a variety that there is not, and axes that there are not."""
    if variety not in VARIETIES:
        raise ValueError(f"{where} says variety = {variety!r}; it must be one of {', '.join(VARIETIES)}")
    if set(flips) - set(VOLUME_AXES):
        raise ValueError(f"{where} says flips = {flips!r}; it names axes out of {VOLUME_AXES}, none of them is {''!r}")


def on_backbone(model: ModelConfig, backbone: str | None, where: str) -> ModelConfig:
    """Return a model on another backbone where one is named; raise where it lacks one, classes, or fitting sizes."""
    assert model.volume is not None
    if not model.classes:
        raise ValueError(f"{where} names no classes; write the names of the labels 1, 2, ... into [model] classes")
    if model.volume.network != AUTOPROSAM:
        if backbone is not None:
            raise ValueError(f"{where} is for a {model.volume.network}, which has no backbone; leave out --backbone")
        models.sizes_in(model)
        return model
    chosen = model.network if backbone is None else {**model.network, "backbone": backbone}
    if "backbone" not in chosen:
        raise ValueError(f"{where} names no backbone in [model.network]; write one there, or name it with --backbone")
    model = replace(model, network=chosen)
    models.sizes_in(model)
    return model
