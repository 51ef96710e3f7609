"""How well predicted label images agree with true ones: the story of `promptless evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.data import class_names as names_beside
from promptless.io import label_classes, label_files
from promptless.labels import LabelSource
from promptless.metrics import rules as known
from promptless.metrics.bootstrap import interval_of_sums
from promptless.metrics.comparison import Comparison
from promptless.metrics.figures import Figure, Sums
from promptless.metrics.rules import Rule

Source = Path | LabelSource | label_files.LabelImage
"""A label image, or the file of one; a `LabelImage` also says what is known of it, such as classes."""
SEED = 0
EVERYTHING = "all"
"""The group of all images."""


@dataclass(frozen=True)
class Row:
    """A figure of a group of images, averaged as its rule says, with its 95 % bootstrap interval over images.

    `n_undefined` of the `n_images` have no such figure of their own. `class_name` is the class it is of, nothing
    where it is of all.
    """

    group: str
    n_images: int
    rule: str
    figure: str
    value: float
    low: float
    high: float
    n_undefined: int
    class_name: str = ""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The counts of every image under every rule, from which all figures follow.

    `counts[rule][i]` is what the rule counted in the image `names[i]`; `tolerance` (mm) is that of NSD. Classes go by
    `class_names` where those are known, else by their numbers.
    """

    names: tuple[str, ...]
    rules: tuple[Rule, ...]
    counts: dict[str, list[Any]]
    tolerance: float
    class_names: Mapping[int, str] = field(default_factory=dict)

    def rows(self, categories: Mapping[str, str] | None = None, *, draws: int = 2000) -> list[Row]:
        """Return every figure for each category (of images, by name) and for all images together."""
        groups = grouped(self.names, categories or {})
        return [
            self.row(group, places, rule, figure, draws)
            for group, places in groups.items()
            for rule in self.rules
            for figure in rule.figures
        ]

    def row(self, group: str, places: NDArray[np.intp], rule: Rule, figure: Figure, draws: int) -> Row:
        """Return a figure of the images at `places`."""
        counts = [self.counts[rule.name][i] for i in places]
        terms = figure.terms(counts)
        low, high = interval_of_sums(terms, figure.of, np.random.default_rng(SEED), draws=draws)
        undefined = int(np.isnan(figure.of(terms)).sum())
        value = figure.of_set(counts)
        title, of_class = self.title(figure), self.class_name(figure)
        return Row(group, len(places), rule.name, title, value, low, high, undefined, of_class)

    def images(self) -> Iterator[tuple[str, str, str, str, float]]:
        """Yield the name of every image, and rule, figure, class and value of every figure of its own."""
        for rule in self.rules:
            for figure in rule.figures:
                scores = figure.of_images(self.counts[rule.name])
                for name, score in zip(self.names, scores, strict=True):
                    yield name, rule.name, self.title(figure), self.class_name(figure), float(score)

    def title(self, figure: Figure) -> str:
        """Return a figure's name, with the class that it is of; surface Dice says its tolerance."""
        name = f"{figure.name} at {self.tolerance:g} mm" if figure.name == "NSD" else figure.name
        return f"{name} of {self.class_name(figure)}" if figure.of_class else name

    def class_name(self, figure: Figure) -> str:
        """Return the name of the class that a figure is of, its number where no name is known."""
        return self.class_names.get(figure.of_class, f"class {figure.of_class}") if figure.of_class else ""

    @property
    def absent(self) -> tuple[str, ...]:
        """The named classes of which there is no figure: neither truth nor prediction of any image has them."""
        found = {figure.of_class for rule in self.rules for figure in rule.figures} - {0}
        return tuple(name for value, name in self.class_names.items() if value not in found) if found else ()

    def curves(self) -> dict[str, list[float]]:
        """Return pooled AP and F1 at StarDist's thresholds; the rule `stardist` counts them."""
        if "stardist" not in self.counts:
            raise ValueError("the curves are those of the rule stardist; add it to the rules")
        matchings = [matching for matching, _ in self.counts["stardist"]]
        sums = np.sum(np.stack(matchings, dtype=np.float64), axis=0).T  # (threshold, TP FP FN)
        return {"AP": known.pooled_accuracy(sums).tolist(), "F1": known.pooled_f1(sums).tolist()}


def evaluate(
    truth: Mapping[str, Source],
    predicted: Mapping[str, Source],
    rules: Sequence[str] = known.DEFAULT_OBJECT_RULES,
    *,
    tolerance: float = 1.0,
    spacing: tuple[float, ...] | None = None,
    classes: Sequence[str] | None = None,
    progress: Callable[[float, str], None] = lambda done, name: None,
) -> Evaluation:
    """Compare predicted with true label images of the same name, under each of `rules` (`metrics.rules.RULES`).

    Images are arrays or files, one pair at a time in memory. `tolerance` (mm) is that of NSD; `spacing` is
    the size of a voxel in mm, array order, where the files do not say. `classes` are the names of the classes 1, 2,
    ...; left out, they are those that stand beside the files (`io.class_names`).
    """
    chosen = known.find(rules)
    names = [name for name in truth if name in predicted]
    if not names:
        raise ValueError("no true image has a prediction of its name; name them alike")
    told = class_names(names, truth, predicted, chosen) if classes is None else dict(enumerate(classes, start=1))
    counts: dict[str, list[Any]] = {rule.name: [] for rule in chosen}
    for i, name in enumerate(names):
        progress(i, name)
        comparison = compared(name, opened(truth[name]), opened(predicted[name]), spacing, tolerance)
        for rule in chosen:
            counts[rule.name].append(counted(name, rule, comparison))
    grown = tuple(rule.grown(counts[rule.name]) for rule in chosen)
    if classes is not None:
        check_named(grown, told)
    return Evaluation(tuple(names), grown, counts, tolerance, told)


def class_names(
    names: Sequence[str], truth: Mapping[str, Source], predicted: Mapping[str, Source], rules: Sequence[Rule]
) -> dict[int, str]:
    """Return the names of the classes that stand beside the files, where a rule has figures of classes."""
    if not any(rule.by_class for rule in rules):
        return {}
    sources = (source for side in (truth, predicted) for source in (side[name] for name in names))
    return names_beside.common(source for source in sources if isinstance(source, Path))


def check_named(rules: Sequence[Rule], names: Mapping[int, str]) -> None:
    """Refuse a class without a name where names were given."""
    nameless = sorted({figure.of_class for rule in rules for figure in rule.figures} - {0, *names})
    if nameless:
        raise ValueError(
            f"there is a label {nameless[0]} without a name (named: "
            f"{', '.join(f'{value} {name}' for value, name in names.items())}); name all classes, in the order of "
            "their numbers"
        )


def opened(source: Source) -> label_files.LabelImage:
    """Return a label image, opened where it is a file, with the classes that are told beside it."""
    if isinstance(source, label_files.LabelImage):
        return source
    if isinstance(source, Path):
        return replace(label_files.read(source), classes=label_classes.beside(source))
    return label_files.LabelImage(source)


def compared(
    name: str,
    truth: label_files.LabelImage,
    predicted: label_files.LabelImage,
    spacing: tuple[float, ...] | None,
    tolerance: float,
) -> Comparison:
    """Put a pair side by side; the truth knows the size of a voxel best."""
    predicted = aligned(name, truth, predicted)
    try:
        return Comparison(
            truth.labels, predicted.labels, truth.spacing or spacing, tolerance, truth.classes, predicted.classes
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def aligned(name: str, truth: label_files.LabelImage, predicted: label_files.LabelImage) -> label_files.LabelImage:
    """Return a prediction with its axes as those of the truth, where both files say where their voxels lie.

    One on another grid is refused.
    """
    if truth.affine is None or predicted.affine is None:
        return predicted
    from promptless.io.scans import grid

    labels, affine = grid.turned(np.asarray(predicted.labels[slice(None)]), predicted.affine, truth.affine)
    if labels.shape == truth.shape:
        try:
            grid.check_place(affine, truth.affine, truth.shape, "the truth")
        except ValueError as error:
            raise ValueError(f"{name}: the prediction {error}") from error
    return replace(predicted, labels=labels, affine=affine)


def counted(name: str, rule: Rule, comparison: Comparison) -> Any:
    """Return what a rule counts in an image."""
    try:
        return rule.count(comparison)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def differences(ours: Evaluation, others: Evaluation, *, draws: int = 2000) -> list[Row]:
    """Return by how much each figure of `ours` is above that of `others`, on the images common to both.

    Both are resampled together, image by image: what makes an image easy or hard for both cancels out.
    """
    return mean_differences([ours], [others], draws=draws)


def means(trials: Sequence[Evaluation], *, draws: int = 2000) -> list[Row]:
    """Return the mean of each figure over several predictions of the same images, with its interval over images."""
    return mean_differences(trials, [], draws=draws)


def mean_differences(ours: Sequence[Evaluation], others: Sequence[Evaluation], *, draws: int = 2000) -> list[Row]:
    """Return by how much each figure, as the mean over `ours`, is above its mean over `others`, on common images.

    Each is several predictions of the same images, of models that chance alone tells apart; all are resampled together.
    """
    names = [name for name in ours[0].names if all(name in trial.names for trial in (*ours, *others))]
    if not names:
        raise ValueError("the two predictions have no image in common")
    rows: list[Row] = []
    for rule in ours[0].rules:
        mine, theirs = ([of_names(trial, rule, names) for trial in side] for side in (ours, others))
        rows += [
            mean_difference(rule.name, ours[0].title(figure), ours[0].class_name(figure), figure, mine, theirs, draws)
            for figure in rule.figures
        ]
    return rows


def of_names(evaluation: Evaluation, rule: Rule, names: Sequence[str]) -> list[Any]:
    """Return the counts of some images."""
    places = {name: i for i, name in enumerate(evaluation.names)}
    return [evaluation.counts[rule.name][places[name]] for name in names]


def mean_difference(
    rule: str, title: str, of_class: str, figure: Figure, ours: list[list[Any]], others: list[list[Any]], draws: int
) -> Row:
    """Return how much higher the mean of a figure over `ours` is than over `others` (0 where there are none)."""
    terms = [figure.terms(counts) for counts in (*ours, *others)]

    def less(sums: Sums) -> Sums:
        """Return the mean figure of the first terms less that of the others."""
        values = [figure.of(part) for part in np.split(sums, len(terms), axis=-1)]
        with np.errstate(invalid="ignore"):  # what is endless less what is endless is not defined
            mine = np.mean(values[: len(ours)], axis=0)
            return np.asarray(mine - np.mean(values[len(ours) :], axis=0) if others else mine)

    together = np.concatenate(terms, axis=1)
    low, high = interval_of_sums(together, less, np.random.default_rng(SEED), draws=draws)
    undefined = int(np.isnan(less(together)).sum())
    value = float(less(together.sum(axis=0)))
    return Row(EVERYTHING, len(ours[0]), rule, title, value, low, high, undefined, of_class)


def grouped(names: Sequence[str], categories: Mapping[str, str]) -> dict[str, NDArray[np.intp]]:
    """Return the places of the images of each category, and of all; an image without a category is in all only."""
    of_images = np.array([categories.get(name, "") for name in names], object)
    groups = {category: np.flatnonzero(of_images == category) for category in sorted(set(of_images) - {""})}
    return groups | {EVERYTHING: np.arange(len(names))}
