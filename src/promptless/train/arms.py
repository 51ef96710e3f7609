"""What an ablation is made of: one recipe, arms that differ from it in a few places, and what each came to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptless.evaluation import Evaluation
from promptless.model import Model, VoxelModel

Labels = NDArray[np.integer]
Told = Callable[[float, str], None]
"""Told which share is done, and what is being done."""
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
class Trial:
    """An arm, trained once: with a seed of the ablation, or with the recipe's own where it names none."""

    arm: Arm
    seed: int | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.arm.name if self.seed is None else f"{self.arm.name}, seed {self.seed}"

    def place(self, folder: Path) -> Path:
        """Return its own folder in that of the ablation."""
        return folder / self.arm.name / ("" if self.seed is None else f"seed_{self.seed}")

    def of(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Return a recipe with the values of this trial in it."""
        seeded = {} if self.seed is None else {"seed": self.seed}
        return {**varied(recipe, self.arm), **seeded}


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


@dataclass(frozen=True)
class Ablation:
    """`[ablate]` of a recipe file: its arms, in the order of the table, and the one that all are compared with."""

    recipe: Mapping[str, Any]
    ids: Mapping[str, list[str]]  # "train", "dev", "test"
    arms: tuple[Arm, ...]
    reference: str
    rules: tuple[str, ...]
    x_label: str = ""  # what the numbers `x` of arms are
    seeds: tuple[int, ...] = ()  # with each of which every arm is trained; none: once, with the recipe's own

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds) or not all(isinstance(seed, int) for seed in self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}; it must be whole numbers, each once")

    def of(self, names: Sequence[str]) -> Ablation:
        """Return the ablation with some of its arms only; the reference stays."""
        known = [arm.name for arm in self.arms]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(f"there is no arm {', '.join(unknown)}; there are {', '.join(known)}")
        return replace(self, arms=tuple(arm for arm in self.arms if arm.name in {*names, self.reference}))

    def with_seeds(self, seeds: Sequence[int]) -> Ablation:
        """Return the ablation with some of its seeds only."""
        unknown = sorted(set(seeds) - set(self.seeds))
        if unknown:
            there = f"there are {', '.join(map(str, self.seeds))}" if self.seeds else "[ablate] names none"
            raise ValueError(f"there is no seed {', '.join(map(str, unknown))}; {there}")
        return replace(self, seeds=tuple(seed for seed in self.seeds if seed in seeds))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every arm once, then every arm with the next seed; a model that is taken as it is has none."""
        as_it_is = [Trial(arm) for arm in self.arms if arm.model is not None]
        learning = [arm for arm in self.arms if arm.model is None]
        return (*as_it_is, *(Trial(arm, seed) for seed in self.seeds or (None,) for arm in learning))


@dataclass(frozen=True)
class Cost:
    """What training took; 0 where nothing was trained."""

    seconds: float = 0.0  # of its phases, looks at dev left out
    memory_bytes: int = 0  # peak of the GPU where there is one, else of the process
    trainable: int = 0  # parameters
    steps: int = 0  # of its phases


@dataclass(frozen=True)
class Words:
    """What the table of a kind of recipes says: what is looked at, and of what operations are counted."""

    noun: str
    look: str


@dataclass(frozen=True)
class Row:
    """An arm's line of the table; numbers are means over its trials, the largest of the memory.

    `seconds` per image is the median over the images, tables and files left out. `scores` are one per trial.
    """

    arm: Arm
    cost: Cost
    seconds: float
    operations: float  # floating-point operations of one look
    scores: tuple[Evaluation, ...]
    words: Words


class Labelled(Protocol):
    """An image or a scan with its labels."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def labels(self) -> NDArray[Any]:
        """Its labels."""


S = TypeVar("S", bound=Labelled)


@dataclass(frozen=True)
class Craft(Generic[S]):
    """How the arms of a kind of recipes are trained, asked and judged; `S` is what they are asked about."""

    rules: tuple[str, ...]  # they are judged by, where the recipe names none
    words: Words
    phases: tuple[str, ...]  # tables of a recipe that say how long something is trained
    masks: tuple[str, ...]  # that an arm may be judged by
    says: Mapping[str, Any]  # what the recipe of every trial says, lying beside `SPLIT`
    ids: Callable[[Mapping[str, Any], Path], Mapping[str, list[str]]]  # of a recipe that lies in a folder
    train: Callable[[Path, str], int]  # what the recipe in a trial's folder says, or go on; trainable parameters
    samples: Callable[[Mapping[str, Any], Sequence[str]], list[S]]  # of a recipe's data, by id
    segment: Callable[[S, Model | VoxelModel, str], Labels]
    judge: Callable[[Mapping[str, Any], Sequence[S], Mapping[str, Labels], tuple[str, ...]], Evaluation]
    operations: Callable[[str | Path, Model | VoxelModel], float]  # of one look by a model, by its name or folder


RECIPE, SPLIT, MODEL = "recipe.toml", "split.json", "model"
"""Within a trial's folder: its recipe, the split, and what was trained."""
