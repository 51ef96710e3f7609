"""A model on volumes as one ONNX file, which runs without torch, and how near it comes to the model it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import onnx
import torch
from scipy import ndimage
from torch import nn

from promptless import loading, registry, voxels
from promptless.config import COMPACT, INT8, UNET, ModelConfig, OnnxConfig
from promptless.evaluation import evaluate
from promptless.export import OPSET, accompany, described, round_to_half, save, trace, vacant, write_onnx
from promptless.image import Image
from promptless.io.atomic import replacing_folder
from promptless.model import Array, VoxelModel
from promptless.networks.footprint import peak_bytes
from promptless.networks.volume.rivals import AnySize
from promptless.quantize import to_int8
from promptless.registry import CONFIG
from promptless.runtimes.onnx import NETWORK, OnnxVoxelModel

ANY_SIZE = (UNET, COMPACT)
"""Networks whose graph does not depend on the size of the crop; those with windows are written for one size."""
RULE = "nnunet"
EXAMPLES = 32
"""So many crops are looked at, at most, to learn the ranges of activations."""


@dataclass(frozen=True)
class Parity:
    """How near two runtimes come, on scans as the model sees them."""

    scans: tuple[str, ...]
    largest_difference: float  # of logits
    largest_logit: float  # of the model that was exported
    mean_dice: float  # of the labels of both, over scans, then classes


def export(
    source: Path,
    folder: Path,
    compare: Sequence[tuple[str, Image]] = (),
    calibrate: Sequence[Image] = (),
) -> Parity:
    """Write a model on volumes as ONNX into `folder`, whole or not at all, and compare it with what it was made of.

    With scans to `calibrate` by, it computes in 8 bits. Without scans to `compare` on, one is made of noise.
    """
    config = ModelConfig.read(source / CONFIG)
    check(config, folder)
    registry.verify(source, config, loading.NEEDED_OF_VOXELS["torch"])
    model = loading.torch_voxel_model(source, config, None, "cpu")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as aside:
        write(round_to_half(model.network), config, aside, calibrate)
        exported = OnnxVoxelModel(aside, ModelConfig.read(aside / CONFIG))
        parity = compared(model, exported, compare or [("made of noise", noise(config))])
        accompany(aside, source, asdict(parity))
    return parity


def check(config: ModelConfig, folder: Path) -> None:
    """Refuse a model on planes, one without weights for torch, and a folder that holds something."""
    if config.volume is None:
        raise ValueError(f"{config.name} is a model on planes, which promptless.planar_export writes as ONNX")
    if config.onnx is not None and NETWORK in config.files:
        raise ValueError(f"{config.name} is ONNX already; export the folder of the training that it was made in")
    vacant(folder)


def write(network: nn.Module, config: ModelConfig, folder: Path, calibrate: Sequence[Image]) -> None:
    """Write `network.onnx` and `config.json`."""
    crop = voxels.of_volume(config).crop
    inner, limits = within(network, config)
    example = torch.zeros(1, 1, *(limits.crop or tuple(2 * limits.multiple for _ in crop)))
    axes = {0: "n", **({} if limits.crop else {2: "z", 3: "y", 4: "x"})}
    names = (["crops"], ["logits"], {"crops": axes, "logits": axes})
    (trace if calibrate else write_onnx)(inner, folder / NETWORK, (example,), *names)
    declare(folder / NETWORK, ("n", 1 + len(config.classes), *(limits.crop or ("z", "y", "x"))))
    limits = replace(limits, bytes_per_voxel=peak_bytes(network, (1, 1, *crop)) // prod(crop))
    described(replace(config, onnx=limits), folder, (NETWORK,))
    if calibrate:
        quantized(folder, calibrate)


def within(network: nn.Module, config: ModelConfig) -> tuple[nn.Module, OnnxConfig]:
    """Return the part of a network that becomes a graph, and what that takes."""
    if voxels.of_volume(config).network in ANY_SIZE:
        assert isinstance(network, AnySize)
        return network.network, OnnxConfig(OPSET, None, network.multiple)
    return network, OnnxConfig(OPSET, voxels.of_volume(config).crop)


def declare(path: Path, shape: Sequence[int | str]) -> None:
    """Say in a file which shape its logits have; torch guesses it wrong after `movedim`, which runtimes complain of."""
    graph = onnx.load(path)
    for axis, size in zip(graph.graph.output[0].type.tensor_type.shape.dim, shape, strict=True):
        if isinstance(size, str):
            axis.dim_param = size
        else:
            axis.dim_value = size
    save(graph, path)


def quantized(folder: Path, scans: Sequence[Image]) -> None:
    """Bring the network in a folder to 8 bits."""
    config = ModelConfig.read(folder / CONFIG)
    model = OnnxVoxelModel(folder, config)
    to_int8(folder / NETWORK, folder / NETWORK, ({"crops": model.taken(crop)} for crop in crops_of(scans, config)))
    save(onnx.load(folder / NETWORK), folder / NETWORK)
    described(replace(config, onnx=replace(model.limits, arithmetic=INT8)), folder, (NETWORK,))


def crops_of(scans: Sequence[Image], config: ModelConfig) -> Iterator[Array]:
    """Yield crops (1, 1, z, y, x) of scans as a model sees them, as many of each, and not too many."""
    each = max(1, EXAMPLES // len(scans))
    for scan in scans:
        planned = voxels.plan(scan, config, flips=False)
        seen = voxels.look(scan, config, planned)
        places = list(product(*(axis.spans for axis in planned.stops)))
        for place in places[:: -(-len(places) // each)]:
            yield seen.crop(*(span for span, _ in place))[None, None]


def compared(model: VoxelModel, other: VoxelModel, scans: Sequence[tuple[str, Image]]) -> Parity:
    """Return how near two models come, which look at scans alike."""
    apart, largest, truth, predicted = 0.0, 0.0, {}, {}
    for name, scan in scans:
        planned = voxels.plan(scan, model.config, flips=False)
        seen = voxels.look(scan, model.config, planned)
        one, two = (voxels.averaged(seen, planned, each) for each in (model, other))
        apart, largest = max(apart, float(np.abs(one - two).max())), max(largest, float(np.abs(one).max()))
        truth[name], predicted[name] = one.argmax(0), two.argmax(0)
    evaluation = evaluate(truth, predicted, (RULE,))
    (rule,) = evaluation.rules
    dice = rule.figures[0].of_set(evaluation.counts[RULE])
    return Parity(tuple(name for name, _ in scans), apart, largest, float(dice))


def noise(config: ModelConfig) -> Image:
    """Return a scan of smooth noise, as large as a crop, or as the model takes at most."""
    volume = voxels.of_volume(config)
    spacing = volume.spacing or (1.0,) * len(volume.crop)
    extent = volume.extent or (math.inf,) * len(spacing)
    size = [max(1, int(min(n, mm // step))) for n, mm, step in zip(volume.crop, extent, spacing, strict=True)]
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=size), 2)
    low, high = (volume.intensity.low, volume.intensity.high) if volume.intensity.rule == "window" else (0.0, 1000.0)
    scaled = low + (high - low) * (values - values.min()) / (values.max() - values.min())
    return Image(scaled.astype(np.float32)[None], spacing, "mm")
