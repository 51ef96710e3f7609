"""From a recipe file to a model folder."""

from __future__ import annotations

import json
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from promptless.config import INSTANCES, SEMANTIC, AdapterConfig, ModelConfig, ProposalConfig, from_dict
from promptless.data import prepared
from promptless.data.augment import NEAR, VARIETIES, WIDE, seen_at
from promptless.data.sample import Sample
from promptless.data.sources import SOURCES
from promptless.export import export
from promptless.loading import NEEDED
from promptless.networks.adapted import Adapted
from promptless.networks.checkpoints import WEIGHTS, single
from promptless.networks.promptable import Promptable, PromptableSize
from promptless.networks.sam import SamSize
from promptless.networks.unet import fitted_heads
from promptless.registry import CONFIG, find, verify
from promptless.train import material, processes, run
from promptless.train.decoder import DecoderTask, JointTask
from promptless.train.generator import GeneratorTask, Patches
from promptless.train.learned import take
from promptless.train.loop import Schedule, Task, fit
from promptless.train.sac import ForegroundTask, MaskLoss, SacJointTask, SacTask

Progress = Callable[[float, str], None]

NETWORKS = "[adapter] (an addition to a backbone) or [network] (a model from nothing)"
"""What a recipe has one of."""
GENERATOR = "generator"
"""The phase of the prompt generator alone."""
Watch = Callable[[str, nn.Module, int, Mapping[str, Tensor], float], None]
"""Shown the name of a phase, what it trains, and what `loop.Watch` is shown."""


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
    network: PromptableSize | None  # None: that of the adapter
    phases: Mapping[str, Phase]  # some of `TASKS`, in that order
    model: ModelConfig = field(repr=False)
    start: str | None = None  # a model, by name or folder, whose weights training goes on from
    adapter: AdapterConfig | None = None  # where the result is one; the hash is known once the backbone is loaded
    said: frozenset[str] = frozenset()  # fields of the model's kind that the recipe has; an adapter's data says others
    variety: str = WIDE  # of the patches, by its name in `VARIETIES`

    @property
    def generator(self) -> tuple[int, ...]:
        """Channels per level of the prompt generator."""
        if self.adapter is not None:
            return self.adapter.generator
        assert self.network is not None
        return self.network.generator


def read(path: Path, *, data: Path | None = None, backbone: str | None = None) -> Recipe:
    """Read a recipe file; its `split` is a path beside it, its `data` a prepared folder in $PROMPTLESS_DATA.

    `data` is a prepared folder to take instead, with its own split; `backbone` the one to take instead.
    """
    recipe = without_split(path, data=data, backbone=backbone)
    split = data / prepared.SPLIT if data is not None else path.parent / parsed(path)["split"]
    return replace(recipe, ids=split_in(split))


def without_split(path: Path, *, data: Path | None = None, backbone: str | None = None) -> Recipe:
    """Return what a recipe file says before its data need be there: all but which images are for what."""
    content, where = parsed(path), str(path)
    strange = sorted(set(content) - KNOWN)
    if strange:
        raise ValueError(f"{path} says {', '.join(strange)}, which no recipe knows; it knows {sorted(KNOWN)}")
    adapter = adapter_config(content, backbone, where)
    required = {"seed", "model"} | ({"source", "split"} if data is None else set())
    if adapter is None:
        required |= {"sampling", "network"} if "network" in content else {NETWORKS}
    missing = sorted(required - set(content))
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}" + ("; --data FOLDER gives them" if "split" in missing else "")
        )
    if content.get("source", "folder") not in SOURCES:
        raise ValueError(f"{path} names the source {content['source']!r}; there are {', '.join(SOURCES)}")
    source = content["source"] if data is None else "folder"
    model = ModelConfig.from_dict(content["model"], where)
    phases = {name: Phase.from_dict(content[name], f"{where}, [{name}]") for name in TASKS if name in content}
    check_phases(phases, model, content.get("start"), where)
    return Recipe(
        source,
        data_folder(content.get("data", source)) if data is None else data,
        {},
        content["seed"],
        content.get("sampling", {}),
        None if adapter else sized(content["network"], model.maps, where),
        phases,
        model,
        content.get("start"),
        adapter,
        frozenset(content["model"].get("kind", {})),
        variety_of(content, where),
    )


def variety_of(content: Mapping[str, Any], where: str) -> str:
    """Return how varied the patches are; an adapter is for images like those at hand, unless its recipe says else."""
    variety = content.get("variety", NEAR if "adapter" in content else WIDE)
    if variety not in VARIETIES:
        raise ValueError(f"{where} says variety = {variety!r}; it must be one of {', '.join(VARIETIES)}")
    return str(variety)


def parsed(path: Path) -> dict[str, Any]:
    """Return the tables of a recipe file."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, and a recipe is a file; for images and masks say --data {path}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error


def check_phases(phases: Iterable[str], model: ModelConfig, start: str | None, where: str) -> None:
    """Raise where something else is trained than what the model gives, or nothing, from nothing."""
    if model.output not in PHASES:
        raise ValueError(f"{where} has the output {model.output}, which is taught; name a [distill] teacher, a student")
    fitting, named = PHASES[model.output], list(phases)
    strange = [name for name in named if name not in fitting]
    if strange or not (named or start):
        told = f"has [{'], ['.join(strange)}]" if strange else "has no phase"
        raise ValueError(f"{where} {told}; a model whose output is {model.output} learns in [{'], ['.join(fitting)}]")


def adapter_config(content: Mapping[str, Any], backbone: str | None, where: str) -> AdapterConfig | None:
    """Return what a recipe's `adapter` table describes, on another backbone where one is named; None without one."""
    if "adapter" not in content:
        if backbone is not None:
            raise ValueError(f"{where} has no [adapter], so there is no backbone to choose; leave out --backbone")
        return None
    strange = sorted({"network", "start"} & set(content))
    if strange:
        raise ValueError(f"{where} has [adapter] and {', '.join(strange)}; an adapter's network is its backbone's")
    chosen = {} if backbone is None else {"backbone": backbone}
    values = {**content["adapter"], **chosen}
    if "backbone" not in values:
        raise ValueError(f"{where} names no backbone in [adapter]; write one there, or name it with --backbone")
    return from_dict(AdapterConfig, {"sha256": "", **values}, f"{where}, [adapter]")


def split_in(path: Path) -> dict[str, list[str]]:
    """Return the ids of train, dev and test in a file; an image that is in two parts would be judged by itself."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it says which images are for train, dev and test")
    content: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    twice = sorted(name for name, n in Counter(name for names in content.values() for name in names).items() if n > 1)
    if twice:
        raise ValueError(f"{path} names {', '.join(twice[:3])} twice ({len(twice)} in all); each image is for one part")
    return content


def data_folder(source: str) -> Path:
    """Return where a data set lies."""
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        raise FileNotFoundError(f"set PROMPTLESS_DATA to the folder that holds {source}/")
    return Path(root) / source


def sized(content: Mapping[str, Any], maps: int, where: str) -> PromptableSize:
    """Return the sizes that a recipe's `network` table describes, the generator with as many maps as the model says."""
    return replace(from_dict(PromptableSize, network_tables(content, where), where), maps=maps)


def network_tables(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `PromptableSize`, its SAM as a `SamSize`."""
    return {**content, "sam": from_dict(SamSize, content.get("sam", {}), where)}


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: Progress = lambda done, name: None,
) -> Path:
    """Train what the recipe's phases say, in order; export, and return the model folder, `folder`/model.

    `generator` trains the prompt generator, `decoder` the rest on it, `joint` both. The phases keep
    their checkpoints and logs in folders of their own; with `resume` each goes on from its last
    checkpoint, and one that is complete is not done again. `device` is "auto" (a GPU where there is one),
    "cpu", "cuda", "cuda:1" or "mps". Of several processes, the first one exports.
    """
    torch.manual_seed(recipe.seed)
    samples = list(prepared.read(recipe.data, recipe.ids["train"]))
    check_classes(recipe, samples)
    if recipe.model.output == INSTANCES:
        material.check_objects(samples)
    network = begun(recipe)
    follow(recipe, network, samples, folder, resume=resume, device=device, progress=progress)
    if processes.main():
        export(network.cpu(), recipe.model, folder / "model")
    return folder / "model"


def identity(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return what decides what a phase yields, as JSON; a run goes on only where it is the same."""
    phase, model, adapter = recipe.phases[name], recipe.model, recipe.adapter
    decides: dict[str, Any] = {
        "source": recipe.source,
        "start": recipe.start if adapter is None else adapter.sha256,
        "seed": recipe.seed,
        "phase": {**asdict(phase), "schedule": phase.schedule.deciding()},
        "sampling": dict(recipe.sampling),
        "train": list(recipe.ids["train"]),
        "variety": recipe.variety,
        "maps": model.maps,
        "scale": [model.kind.pixel_size, model.kind.small_px],
    }
    if model.classes:
        decides["classes"] = list(model.classes)
    if name == GENERATOR:
        return {**decides, "generator": recipe.generator}
    network = recipe.network if adapter is None else adapter
    told = {"network": network, "window": model.window, "proposals": phase.proposals(model), "points": model.points}
    return {**decides, **{what: asdict(value) for what, value in told.items() if value is not None}}


def unwatched(name: str, module: nn.Module, step: int, mean: Mapping[str, Tensor], done: float) -> None:
    """Look at nothing while a network trains."""


def follow(
    recipe: Recipe,
    network: Promptable | Adapted,
    samples: Sequence[Sample],
    folder: Path,
    *,
    resume: bool,
    device: str,
    progress: Progress,
    watch: Watch = unwatched,
) -> None:
    """Train a network through the phases of a recipe, each in a folder of its own."""
    total = sum(phase.schedule.length for phase in recipe.phases.values())
    before = 0.0
    for number, (name, phase) in enumerate(recipe.phases.items()):
        task = TASKS[name](network, recipe, phase)
        patches = Patches(
            samples,
            weights(recipe, samples),
            phase.patch,
            recipe.seed + number,
            VARIETIES[recipe.variety],
            scales(recipe.model, samples),
        )
        mean = fit(
            task,
            patches,
            phase.schedule,
            folder / name,
            resume=resume,
            device=device,
            identity=identity(recipe, name),
            progress=partial(tell, progress, before / total, phase.schedule.length / total, name),
            watch=partial(watch, name, task.module),
        )
        take(task.module, mean)
        before += phase.schedule.length


def reached(recipe: Recipe, folder: Path) -> str | None:
    """Return the phase and the step at which training in `folder` goes on, for people; None at its end."""
    for name, phase in recipe.phases.items():
        step, seconds = run.reached(folder / name)
        if phase.schedule.share(step, seconds) < 1:
            return f"{name}, step {phase.schedule.told(step + 1, seconds)}"
    return None


def weights(recipe: Recipe, samples: Sequence[Sample]) -> Mapping[str, float]:
    """Return how often each category is drawn; for an adapter, one not named weighs as many images as it has."""
    if recipe.adapter is None:
        return recipe.sampling
    return {**Counter(sample.category for sample in samples), **recipe.sampling}


def scales(model: ModelConfig, samples: Sequence[Sample]) -> dict[str, float]:
    """Return the scale at which a model will look at each sample, by id."""
    kind = model.kind if model.tells_objects else replace(model.kind, small_px=0.0)  # see view.glanced_at
    return {sample.id: seen_at(sample, kind) for sample in samples}


def begun(recipe: Recipe) -> Promptable:
    """Return the network that training begins with: fresh, or with the weights that the recipe starts from."""
    assert recipe.network is not None
    network = Promptable(recipe.network)
    if recipe.start is not None:
        folder = find(recipe.start)
        verify(folder, ModelConfig.read(folder / CONFIG), NEEDED["torch"])
        state = single(load_file(folder / WEIGHTS))
        network.load_state_dict(fitted_heads(state, network.state_dict()))
    return network


def check_classes(recipe: Recipe, samples: Iterable[Sample]) -> None:
    """Raise where a model that tells classes apart would learn other ones than those of the data."""
    names, known = recipe.model.classes, prepared.class_names(recipe.data)
    if not names:
        return
    if known and [name.casefold() for name in names] != [name.casefold() for _, name in sorted(known.items())]:
        raise ValueError(
            f"the recipe's classes are {', '.join(names)}, but those of {recipe.data / prepared.SET} are "
            f"{', '.join(name for _, name in sorted(known.items()))}; name all of them, in that order"
        )
    for sample in samples:
        prepared.check(sample, dict(enumerate(names, start=1)))
    if not any(sample.classes for sample in samples):
        raise ValueError(
            f"the recipe's classes are {', '.join(names)}, but no training image has a file in "
            f"{recipe.data / 'classes'}; leave `classes` out, or add them"
        )


def tell(progress: Progress, before: float, part: float, name: str, done: float, text: str) -> None:
    """Tell how far all phases are together: one begins at the share `before`, and is a `part` of them."""
    progress(before + part * done, f"{name} {text}")


def generator_task(network: Promptable | Adapted, recipe: Recipe, phase: Phase) -> Task:
    """Return the first phase: the prompt generator alone."""
    network.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = ForegroundTask if recipe.model.output == SEMANTIC else GeneratorTask
    return task(network.generator)


def decoder_task(network: Promptable | Adapted, recipe: Recipe, phase: Phase) -> Task:
    """Return the second phase: image encoder, prompt encoder and mask decoder on the frozen generator."""
    model = recipe.model
    return DecoderTask(network, model.window, phase.proposals(model), phase.per_image, recipe.seed)


def joint_task(network: Promptable | Adapted, recipe: Recipe, phase: Phase) -> Task:
    """Return the third phase: all parts together."""
    model = recipe.model
    return JointTask(network, model.window, phase.proposals(model), phase.per_image, recipe.seed)


def sac_task(network: Promptable | Adapted, recipe: Recipe, phase: Phase) -> Task:
    """Return SAC's phase: image encoder and mask decoder on the frozen generator's points."""
    return SacTask(network, recipe.model.points, phase.loss, recipe.seed)


def sac_joint_task(network: Promptable | Adapted, recipe: Recipe, phase: Phase) -> Task:
    """Return SAC's phase with the generator, which learns by its own loss."""
    return SacJointTask(network, recipe.model.points, phase.loss, recipe.seed)


TASKS: dict[str, Callable[[Promptable | Adapted, Recipe, Phase], Task]] = {
    GENERATOR: generator_task,
    "decoder": decoder_task,
    "joint": joint_task,
    "sac": sac_task,
    "sac_joint": sac_joint_task,
}
PHASES = {INSTANCES: (GENERATOR, "decoder", "joint"), SEMANTIC: (GENERATOR, "sac", "sac_joint")}
"""Which of them train what a model gives."""
KNOWN = {
    *("source", "data", "split", "seed", "start", "sampling", "variety", "network", "adapter", "model", "ablate"),
    *TASKS,
}
"""What a recipe may say; `ablate` is for `promptless ablate`."""
