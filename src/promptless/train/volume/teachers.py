"""Teachers of models on volumes: whether one fits a student, and what it answers to a whole scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptless import voxels
from promptless.config import ModelConfig
from promptless.model import Array, VoxelModel
from promptless.registry import CONFIG, find


def config_of(teacher: str) -> ModelConfig:
    """Return the configuration of a teacher, by name or folder."""
    return ModelConfig.read(find(teacher) / CONFIG)


def check(student: ModelConfig, teacher: ModelConfig) -> None:
    """Refuse a teacher whose answers are no answers to what the student sees."""
    own, its = student.volume, teacher.volume
    if its is None or own is None:
        kinds = ("planes", "volumes")
        raise ValueError(
            f"{teacher.name} is a model on {kinds[its is not None]}, and the student is one on "
            f"{kinds[own is not None]}; a teacher sees what its student sees"
        )
    told = {
        "classes": (student.classes, teacher.classes),
        "spacing": (own.spacing, its.spacing),
        "intensity": (own.intensity, its.intensity),
    }
    for name, (mine, yours) in told.items():
        if mine != yours:
            raise ValueError(
                f"the student's {name} is {shown(mine)}, that of its teacher {teacher.name} is {shown(yours)}; they "
                "must be the same, since the student learns from the teacher's answers to the same voxels"
            )


def shown(value: object) -> str:
    """Return a value for a message."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "as it is" if value is None else str(value)


def asked(teacher: VoxelModel, image: NDArray[np.float32]) -> Array:
    """Return the logits (class, z, y, x) of a scan (z, y, x) as the model sees it, averaged where crops overlap."""
    shape, crop = image.shape, voxels.of_volume(teacher.config).crop
    planned = voxels.laid(shape, shape, crop, teacher.config, flips=False)
    return voxels.averaged(voxels.Seen(voxels.framed(image, planned)), planned, teacher)
