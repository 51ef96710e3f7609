"""A student of one pass in 8 bits, calibrated on images, and how near it comes to the one in single precision."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from promptless.config import DIRECT, ModelConfig
from promptless.export import accompany, described, save, vacant
from promptless.image import Image
from promptless.io.atomic import replacing_folder
from promptless.loading import load
from promptless.metrics.instances import match, pooled
from promptless.metrics.pixels import dice
from promptless.model import ImageEmbedding, Model
from promptless.pipeline import segment
from promptless.quantize import to_int8
from promptless.registry import CONFIG
from promptless.runtimes.onnx import ENCODE
from promptless.tiles import Tile
from promptless.view import View, encode, whole

HALF = "_half"
"""What `promptless.export.store_half` adds to the name of a constant."""
STRICT = 8
"""Where an IoU of .9 stands among the thresholds of `promptless.metrics.instances`."""
FEWEST = 4
"""Images that activations are measured on, at least."""


@dataclass(frozen=True)
class Parity:
    """How near two models are to each other on some images."""

    images: int
    ap90: float  # the objects of one against those of the other, at IoU .9, pooled
    dice: float  # of their pixels, mean over images
    largest: float  # difference of two logits


def export(source: Path, folder: Path, calibrate: Sequence[Image], compare: Sequence[Image] = ()) -> Parity:
    """Write a student that computes in 8 bits into `folder`, whole or not at all, and compare it with the student.

    Images to `calibrate` by are looked at as the model looks at images, which says how large the values between its
    layers are; they should be like those that it is for. Without images to `compare` on, they are taken.
    """
    config = ModelConfig.read(source / CONFIG)
    check(config, folder, calibrate)
    exact = load(source, runtime="onnx")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as aside:
        quantized(source / ENCODE, shown(exact, calibrate), aside / ENCODE)
        described(replace(config, version=f"{config.version}-int8"), aside, (ENCODE,))
        parity = compared(exact, load(aside), compare or calibrate)
        accompany(aside, source, asdict(parity))
    return parity


def check(config: ModelConfig, folder: Path, images: Sequence[Image]) -> None:
    """Refuse a model that is no student of one pass, a folder that holds something, or too few images."""
    if config.output != DIRECT or ENCODE not in config.files:
        raise ValueError(f"{config.name} gives {config.output}; of models on planes students of one pass become int8")
    vacant(folder)
    if len(images) < FEWEST:
        raise ValueError(f"{len(images)} images say too little of what {config.name} sees; give {FEWEST} at least")


class Watched:
    """A model that remembers what it was shown."""

    def __init__(self, model: Model) -> None:
        self.model, self.config = model, model.config
        self.seen: list[NDArray[np.float32]] = []
        self.decode = model.decode

    def encode(self, image: NDArray[np.float32]) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        self.seen.append(image)
        return self.model.encode(image)


def shown(model: Model, images: Iterable[Image]) -> list[NDArray[np.float32]]:
    """Return what a model is shown of images when they are segmented."""
    watched = Watched(model)
    for image in images:
        segment(image, watched)
    return watched.seen


def quantized(source: Path, seen: Iterable[NDArray[np.float32]], target: Path) -> None:
    """Write an ONNX file in 8 bits, but for the first convolution and the last."""
    graph = onnx.load(source)
    store_single(graph.graph)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / ENCODE
        onnx.save(graph, plain)
        to_int8(plain, target, ({"image": image[None]} for image in seen), operations=None, spare=ends)
    save(onnx.load(target), target)


def ends(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the first convolution and the last."""
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    return [convolutions[0], convolutions[-1]]


def store_single(graph: onnx.GraphProto) -> None:
    """Undo `promptless.export.store_half`: store constants as they are computed with."""
    halves = {c.name: c for c in graph.initializer if c.name.endswith(HALF) and c.data_type == TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in halves]
    for cast in casts:
        constant = halves[cast.input[0]]
        values = numpy_helper.to_array(constant).astype(np.float32)
        constant.CopyFrom(numpy_helper.from_array(values, cast.output[0]))
        graph.node.remove(cast)


def compared(exact: Model, other: Model, images: Sequence[Image]) -> Parity:
    """Return how near two models are to each other on some images."""
    matchings, dices, largest = [], [], 0.0
    for image in images:
        mine, its = (segment(image, model).labels for model in (exact, other))
        matchings.append(match(mine, its))
        dices.append(dice(mine, its))
        largest = max(largest, furthest(exact, other, image))
    ap90 = float(pooled(matchings).precision[STRICT])
    return Parity(len(images), ap90, float(np.nanmean(dices)), largest)


def furthest(exact: Model, other: Model, image: Image) -> float:
    """Return the largest difference between what two models say of an image."""
    view = View.of(image, exact)
    view = replace(view, seen=None)
    maps = (encode(view, Tile(whole(image), whole(image)), model).maps for model in (exact, other))
    return float(np.abs(np.subtract(*maps)).max())
