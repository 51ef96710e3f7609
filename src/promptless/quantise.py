"""From a student of one pass in single precision to one in 8 bits: static quantisation, calibrated on images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from promptless.config import DIRECT, ModelConfig
from promptless.export import anonymise, described
from promptless.image import Image
from promptless.io.atomic import replacing_folder
from promptless.loading import load
from promptless.metrics.instances import match, pooled
from promptless.metrics.pixels import dice
from promptless.model import ImageEmbedding, Model
from promptless.pipeline import segment
from promptless.registry import CONFIG, find
from promptless.runtimes.onnx import ENCODE
from promptless.tiles import Tile
from promptless.view import View, encode, whole

PARITY = "parity.json"
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


def int8(model: str | Path, images: Sequence[Image], out: Path) -> Parity:
    """Write the folder of a student whose convolutions compute in 8 bits, and return how near it is to the other.

    `images` are looked at as the model looks at images, which says how large the values between its layers are; they
    should be like those that it is for. The first and the last convolution stay as they are: what goes in and comes
    out is fine, and they are few. Beside the model lies `parity.json`.
    """
    folder = find(model)
    config = ModelConfig.read(folder / CONFIG)
    check(config, images)
    exact = load(folder, runtime="onnx")
    seen = shown(exact, images)
    with replacing_folder(out) as made:
        quantised(folder / ENCODE, seen, made / ENCODE)
        described(replace(config, version=f"{config.version}-int8"), made, (ENCODE,))
        report = parity(exact, load(made, runtime="onnx"), images)
        (made / PARITY).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    return report


def check(config: ModelConfig, images: Sequence[Image]) -> None:
    """Refuse a model that is no student of one pass, or too few images to calibrate it."""
    if config.output != DIRECT or ENCODE not in config.files:
        raise ValueError(f"{config.name} gives {config.output}; only students of one pass are made int8 here")
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


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]
    """What onnxruntime measures activations on."""

    def __init__(self, images: Iterable[NDArray[np.float32]]) -> None:
        self.images: Iterator[NDArray[np.float32]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next input, None after the last."""
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


def quantised(source: Path, seen: Iterable[NDArray[np.float32]], target: Path) -> None:
    """Write an ONNX file with convolutions in 8 bits, those that are first and last excepted."""
    graph = onnx.load(source)
    store_single(graph.graph)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready = Path(folder) / "plain.onnx", Path(folder) / "ready.onnx"
        onnx.save(graph, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
        quantization.quantize_static(
            ready,
            target,
            Calibration(seen),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            extra_options={"CalibMovingAverage": True},
        )
    finished = onnx.load(target)
    anonymise(finished)
    onnx.save(finished, target)


def store_single(graph: onnx.GraphProto) -> None:
    """Undo `promptless.export.store_half`: store constants as they are computed with."""
    halves = {c.name: c for c in graph.initializer if c.name.endswith(HALF) and c.data_type == TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in halves]
    for cast in casts:
        constant = halves[cast.input[0]]
        values = numpy_helper.to_array(constant).astype(np.float32)
        constant.CopyFrom(numpy_helper.from_array(values, cast.output[0]))
        graph.node.remove(cast)


def parity(exact: Model, other: Model, images: Sequence[Image]) -> Parity:
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
