"""Models on volumes as networks: AutoProSAM and its rivals, made of what `config.json` says, saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from promptless.config import AUTOPROSAM, COMPACT, UNET, ModelConfig, VolumeConfig, from_dict
from promptless.networks.backbones import Backbone
from promptless.networks.checkpoints import fit, half, single
from promptless.networks.volume import rivals
from promptless.networks.volume.autoprosam import AutoProSam, AutoProSamConfig
from promptless.networks.volume.compact import CompactSizes
from promptless.networks.volume.rivals import SwinUnetrSizes, UnetSizes

TRAINED = "trained.safetensors"
"""What was learned. Of an AutoProSAM that is not all: the rest is its backbone's."""
POINTS = "generator.points.weight"
"""What an AutoProSAM with a user's points has learned more than one without."""

Sizes = AutoProSamConfig | UnetSizes | SwinUnetrSizes | CompactSizes


def begun(config: ModelConfig, backbone: Backbone | None) -> nn.Module:
    """Return a fresh network, crops (batch, 1, z, y, x) to logits (batch, 1 + classes, z, y, x), of any size."""
    sizes = sizes_in(config)
    if isinstance(sizes, AutoProSamConfig):
        assert backbone is not None
        return AutoProSam(backbone, sizes)
    n_classes = 1 + len(config.classes)
    if isinstance(sizes, CompactSizes):
        return rivals.compact(sizes, n_classes)
    return rivals.unet(sizes, n_classes) if isinstance(sizes, UnetSizes) else rivals.swin_unetr(sizes, n_classes)


def sizes_in(config: ModelConfig) -> Sizes:
    """Return what `ModelConfig.network` says, checked; a recipe does not know the hash of its backbone yet."""
    network, where = volume_of(config).network, f"{config.name}, network"
    if network == AUTOPROSAM:
        return from_dict(AutoProSamConfig, {"sha256": "", **config.network, "classes": 1 + len(config.classes)}, where)
    if network == UNET:
        return from_dict(UnetSizes, config.network, where)
    if network == COMPACT:
        return from_dict(CompactSizes, config.network, where)
    return from_dict(SwinUnetrSizes, config.network, where)


def volume_of(config: ModelConfig) -> VolumeConfig:
    """Return how a model looks at scans."""
    if config.volume is None:
        raise ValueError(f"{config.name} is no model on volumes: its output is {config.output!r}")
    return config.volume


def sizes_of(config: ModelConfig) -> dict[str, Any]:
    """Return `ModelConfig.network` in full, defaults written out; the number of classes follows from their names."""
    return {name: value for name, value in asdict(sizes_in(config)).items() if name != "classes"}


def learned_state(network: nn.Module) -> dict[str, Tensor]:
    """Return what was learned, by name, in the network's own memory; of a network that stands alone, all."""
    return network.learned_state() if isinstance(network, AutoProSam) else network.state_dict()


def save(network: nn.Module, folder: Path) -> tuple[str, ...]:
    """Write what was learned, in half precision; return the names of the files."""
    save_file(half(learned_state(network)), folder / TRAINED, metadata={"format": "pt"})
    return (TRAINED,)


def load(folder: Path, config: ModelConfig, backbone: Backbone | None) -> nn.Module:
    """Return the network in a folder, on the backbone that it was trained on, frozen."""
    network = begun(config, backbone)
    fill(network, folder)
    return network.eval().requires_grad_(False)


def begin_with(network: nn.Module, folder: Path) -> None:
    """Give a fresh network what another one has learned, which may have been trained without a user's points.

    Their weights then stay as they begin, at zero, so that both networks answer alike.
    """
    fill(network, folder, {name: value for name, value in learned_state(network).items() if name == POINTS})


def fill(network: nn.Module, folder: Path, given: Mapping[str, Tensor] = MappingProxyType({})) -> None:
    """Give a network what another one of the same sizes, saved in a folder, has learned; `given` if it has not."""
    state = {**given, **single(load_file(folder / TRAINED))}
    fit(state, learned_state(network)).check(str(folder / TRAINED), "a network of these sizes")
    network.load_state_dict(state, strict=False)
