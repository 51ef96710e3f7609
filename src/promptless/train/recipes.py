"""From a recipe file to a model folder."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from promptless.config import SEMANTIC, ModelConfig, ProposalConfig, from_dict
from promptless.data import prepared
from promptless.data.sources import SOURCES
from promptless.export import export
from promptless.loading import NEEDED
from promptless.networks.checkpoints import WEIGHTS, single
from promptless.networks.promptable import Promptable, PromptableSize
from promptless.networks.sam import SamSize
from promptless.registry import CONFIG, find, verify
from promptless.train.decoder import DecoderTask, JointTask
from promptless.train.generator import GeneratorTask, Patches
from promptless.train.loop import Schedule, Task, fit
from promptless.train.sac import ForegroundTask, MaskLoss, SacJointTask, SacTask

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Phase:
    """One stretch of training: patches of `patch` pixels, and how long and how fast."""

    schedule: Schedule
    patch: int = 256
    per_image: int = 16  # prompts per patch, where the decoder is trained
    saddles: tuple[float, ...] | None = None  # readings that the decoder is asked in training; None: the model's own
    loss: MaskLoss = field(default_factory=MaskLoss)  # of the semantic mask

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Phase:
        """Return the phase that a recipe's table describes."""
        own = {name: values[name] for name in ("patch", "per_image", "saddles") if name in values}
        rest = {name: value for name, value in values.items() if name not in own}
        if "loss" in rest:
            own["loss"] = from_dict(MaskLoss, rest.pop("loss"), f"{where}, loss")
        own = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
        return cls(from_dict(Schedule, rest, where), **own)

    def proposals(self, model: ModelConfig) -> ProposalConfig:
        """Return how proposals are made in training."""
        return model.proposals if self.saddles is None else replace(model.proposals, saddles=self.saddles)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run yields."""

    source: str
    data: Path
    ids: Mapping[str, list[str]]  # "train", "dev", "test"
    seed: int
    sampling: Mapping[str, float]
    network: PromptableSize
    phases: Mapping[str, Phase]  # some of `TASKS`, in that order
    model: ModelConfig = field(repr=False)
    start: str | None = None  # a model, by name or folder, whose weights training goes on from


def read(path: Path) -> Recipe:
    """Read a recipe file; its `split` is a path beside it, its `data` a prepared folder in $PROMPTLESS_DATA."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    missing = sorted({"source", "split", "seed", "sampling", "network", "model"} - set(content))
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    if content["source"] not in SOURCES:
        raise ValueError(f"{path} names the source {content['source']!r}; there are {', '.join(SOURCES)}")
    where = str(path)
    return Recipe(
        content["source"],
        data_folder(content.get("data", content["source"])),
        json.loads((path.parent / content["split"]).read_text()),
        content["seed"],
        content["sampling"],
        from_dict(PromptableSize, network_tables(content["network"], where), where),
        {name: Phase.from_dict(content[name], where) for name in TASKS if name in content},
        ModelConfig.from_dict(content["model"], where),
        content.get("start"),
    )


def data_folder(source: str) -> Path:
    """Return where a data set lies."""
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        raise FileNotFoundError(f"set PROMPTLESS_DATA to the folder that holds {source}/")
    return Path(root) / source


def network_tables(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `PromptableSize`, its SAM as a `SamSize`."""
    return {**content, "sam": from_dict(SamSize, content.get("sam", {}), where)}


def train(recipe: Recipe, folder: Path, *, resume: bool = False, progress: Progress = lambda done, name: None) -> Path:
    """Train what the recipe's phases say, in order; export, and return the model folder, `folder`/model.

    `generator` trains the prompt generator, `decoder` the rest on it, `joint` both. The phases keep
    their checkpoints and logs in folders of their own; with `resume` each goes on from its last
    checkpoint, and one that is complete is not done again.
    """
    torch.manual_seed(recipe.seed)
    samples = list(prepared.read(recipe.data, recipe.ids["train"]))
    network = begun(recipe)
    total = sum(phase.schedule.steps for phase in recipe.phases.values())
    before = 0
    for number, (name, phase) in enumerate(recipe.phases.items()):
        task = TASKS[name](network, recipe, phase)
        patches = Patches(samples, recipe.sampling, phase.patch, recipe.seed + number)
        shown = partial(tell, progress, before, total, name)
        mean = fit(task, patches, phase.schedule, folder / name, resume=resume, progress=shown)
        task.module.load_state_dict(mean)
        before += phase.schedule.steps
    export(network, recipe.model, folder / "model")
    return folder / "model"


def begun(recipe: Recipe) -> Promptable:
    """Return the network that training begins with: fresh, or with the weights that the recipe starts from."""
    network = Promptable(recipe.network)
    if recipe.start is not None:
        folder = find(recipe.start)
        verify(folder, ModelConfig.read(folder / CONFIG), NEEDED["torch"])
        network.load_state_dict(single(load_file(folder / WEIGHTS)))
    return network


def tell(progress: Progress, before: int, total: int, name: str, step: int, steps: int, loss: float) -> None:
    """Tell how far all phases are together."""
    progress((before + step) / total, f"{name} {step}/{steps}, loss {loss:.3f}")


def generator_task(network: Promptable, recipe: Recipe, phase: Phase) -> Task:
    """Return the first phase: the prompt generator alone."""
    network.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = ForegroundTask if recipe.model.output == SEMANTIC else GeneratorTask
    return task(network.generator)


def decoder_task(network: Promptable, recipe: Recipe, phase: Phase) -> Task:
    """Return the second phase: image encoder, prompt encoder and mask decoder on the frozen generator."""
    model = recipe.model
    return DecoderTask(network, model.window, phase.proposals(model), phase.per_image, recipe.seed)


def joint_task(network: Promptable, recipe: Recipe, phase: Phase) -> Task:
    """Return the third phase: all parts together."""
    model = recipe.model
    return JointTask(network, model.window, phase.proposals(model), phase.per_image, recipe.seed)


def sac_task(network: Promptable, recipe: Recipe, phase: Phase) -> Task:
    """Return SAC's phase: image encoder and mask decoder on the frozen generator's points."""
    return SacTask(network, recipe.model.points, phase.loss, recipe.seed)


def sac_joint_task(network: Promptable, recipe: Recipe, phase: Phase) -> Task:
    """Return SAC's phase with the generator, which learns by its own loss."""
    return SacJointTask(network, recipe.model.points, phase.loss, recipe.seed)


TASKS: dict[str, Callable[[Promptable, Recipe, Phase], Task]] = {
    "generator": generator_task,
    "decoder": decoder_task,
    "joint": joint_task,
    "sac": sac_task,
    "sac_joint": sac_joint_task,
}
