"""Students that need no recipe: their sizes by name, and the recipe that a teacher and a folder of scans make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptless.config import COMPACT, SWIN_UNETR, ModelConfig
from promptless.data import prepared
from promptless.train.distill import Distilling
from promptless.train.recipes import split_in
from promptless.train.schedule import Schedule
from promptless.train.volume import teachers
from promptless.train.volume.recipe import VolumeRecipe, distilled, looked_at_every, turned
from promptless.train.volume.variety import WIDE

SCHEDULE = Schedule(steps=2000, batch=2, rate=2e-3, warmup=100, average=0.995)


@dataclass(frozen=True)
class Student:
    """A network by its name in a configuration, and what it is made of."""

    network: str
    sizes: dict[str, Any]


STUDENTS = {
    "unet3d_s": Student(COMPACT, {}),
    "unet3d_m": Student(COMPACT, {"widths": [32, 64, 96, 96]}),
    "swinunetr_tiny": Student(SWIN_UNETR, {"feature_size": 12}),
    "swinunetr_small": Student(SWIN_UNETR, {"feature_size": 24}),
    "swinunetr_base": Student(SWIN_UNETR, {"feature_size": 48}),
}


def recipe_for(
    how: Distilling,
    student: str,
    data: Path,
    name: str,
    *,
    unlabelled: Path | None = None,
    flips: str = "",
    seed: int = 0,
    schedule: Schedule = SCHEDULE,
) -> VolumeRecipe:
    """Return what makes a student of a teacher, which looks at scans as the teacher does.

    `name` is the student's. `flips` are axes along which scans may be turned round; none, unless one knows that no
    class has a side.
    """
    if student not in STUDENTS:
        raise ValueError(f"there is no student {student!r}; there are unet2d_s for images, {', '.join(STUDENTS)}")
    model = turned(pupil(teachers.config_of(how.teacher), STUDENTS[student], name), flips)
    ids = split_in(data / prepared.SPLIT)
    recipe = VolumeRecipe(data, ids, seed, schedule, looked_at_every(schedule), WIDE, flips, model)
    return distilled(recipe, how, unlabelled, "this distillation")


def pupil(teacher: ModelConfig, student: Student, name: str) -> ModelConfig:
    """Return the configuration of a student that looks at scans as its teacher does."""
    if teacher.volume is None:
        raise ValueError(
            f"{teacher.name} is a model on planes, and students on volumes ({', '.join(STUDENTS)}) learn from a model "
            "on volumes; name such a one"
        )
    volume = replace(teacher.volume, network=student.network)
    return replace(
        teacher, name=name, version="1", volume=volume, network=student.sizes, files={}, teacher=None, onnx=None
    )
