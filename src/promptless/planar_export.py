"""A model on planes as ONNX files, in 8 bits where asked for, and how near they come to the model they were made of."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from scipy import ndimage

from promptless import loading
from promptless.config import DIRECT, FLOAT32, INSTANCES, INT8, ModelConfig
from promptless.export import (
    HALF,
    accompany,
    described,
    limits,
    maps_example,
    round_to_half,
    save,
    say_merged,
    vacant,
    write_both,
    write_onnx,
)
from promptless.image import Image
from promptless.io.atomic import replacing_folder
from promptless.metrics.instances import Matching, match, pooled
from promptless.metrics.pixels import dice
from promptless.model import Array, Decoded, ImageEmbedding, Model
from promptless.networks.adapted import Adapted, plain
from promptless.networks.checkpoints import WEIGHTS
from promptless.pipeline import segment
from promptless.quantize import to_int8
from promptless.registry import CONFIG
from promptless.runtimes.onnx import DECODE, ENCODE
from promptless.runtimes.torch import TorchDirect, TorchModel

STRICT = 8
"""Where an IoU of .9 stands among the thresholds of `promptless.metrics.instances`."""
FEWEST = 4
"""Images that activations are measured on, at least."""
SPOTS = 4
"""Along each side of the image that models are compared on where there is no other."""


@dataclass(frozen=True)
class Parity:
    """How near two models are to each other on some images."""

    images: int
    ap90: float  # the objects of one against those of the other, at IoU .9, pooled; no number where there are none
    dice: float  # of their pixels, mean over images
    largest: float  # difference of two logits that answer the same: of maps, and of masks where prompts are decoded


def export(source: Path, folder: Path, calibrate: Sequence[Image] = (), compare: Sequence[Image] = ()) -> Parity:
    """Write a model on planes as ONNX into `folder`, whole or not at all, and compare it with what it was made of.

    An adapter becomes one with its backbone. With images to `calibrate` by, what looks at the image computes in 8
    bits; they are looked at as the model looks at images, which says how large the values between its layers are, and
    should be like those that it is for. Without images to `compare` on, they are taken, else one that is made up.
    """
    config = ModelConfig.read(source / CONFIG)
    check(config, folder, calibrate)
    exact = original(source, config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as aside:
        names = write(exact, source, aside)
        if calibrate:
            quantized(aside / ENCODE, shown(exact, calibrate))
        described(alone(config, aside, INT8 if calibrate else FLOAT32), aside, names)
        parity = compared(exact, loading.load(aside), compare or calibrate or [made_up(config)])
        accompany(aside, source, asdict(parity))
        if config.adapter is not None:
            say_merged(aside, config, f"the model {config.name} as ONNX, which needs neither torch nor its backbone")
    return parity


def check(config: ModelConfig, folder: Path, calibrate: Sequence[Image]) -> None:
    """Refuse a model that has no ONNX form or has the one asked for, a folder that holds something, or few images."""
    vacant(folder)
    if config.output not in (INSTANCES, DIRECT):
        raise ValueError(
            f"{config.name} has {config.output} output, which has no ONNX form yet; segment with the model itself"
        )
    if config.onnx is not None and config.onnx.arithmetic == INT8:
        raise ValueError(f"{config.name} {config.version} computes in 8 bits already; export what it was made of")
    if not calibrate and config.adapter is None and WEIGHTS not in config.files:
        raise ValueError(f"{config.name} is ONNX already; with images to calibrate by (--int8) it computes in 8 bits")
    if calibrate and len(calibrate) < FEWEST:
        raise ValueError(f"{len(calibrate)} images say too little of what {config.name} sees; give {FEWEST} at least")


def original(source: Path, config: ModelConfig) -> Model:
    """Return the model that is exported: by torch where it has weights for it, else of its ONNX files."""
    trained = config.adapter is not None or WEIGHTS in config.files
    model = loading.load(source, runtime="torch" if trained else "onnx", device="cpu")
    if config.adapter is not None and large(model):
        raise ValueError(
            f"{config.name} is an adapter on {config.adapter.backbone}, and ONNX is for adapters on our small base "
            "only; `promptless adapter merge` writes it and its backbone as one backbone"
        )
    return model


def large(model: Model) -> bool:
    """Say whether a model is an adapter on a published backbone."""
    network = model.network if isinstance(model, TorchModel) else None
    return isinstance(network, Adapted) and network.backbone.image_size is not None


def write(model: Model, source: Path, folder: Path) -> tuple[str, ...]:
    """Write the ONNX files of a model into a folder, in single precision; return their names."""
    names = (ENCODE,) if model.config.output == DIRECT else (ENCODE, DECODE)
    if isinstance(model, TorchDirect):
        write_onnx(round_to_half(model.network), folder / ENCODE, *maps_example(model.config))
    elif isinstance(model, TorchModel):
        network = model.network
        merged = plain(network, model.config) if isinstance(network, Adapted) else network
        write_both(round_to_half(merged), model.config, folder)
    else:
        for name in names:
            shutil.copy(source / name, folder / name)
    return names


def alone(config: ModelConfig, folder: Path, arithmetic: str) -> ModelConfig:
    """Return the configuration of what a model became in a folder: it stands alone, and says what its files take."""
    version = f"{config.version}-{INT8}" if arithmetic == INT8 else config.version
    return replace(config, version=version, adapter=None, onnx=limits(folder / ENCODE, config, arithmetic))


class Watched:
    """A model that remembers what it was shown and asked, and the logits that it answered."""

    def __init__(self, model: Model) -> None:
        self.model, self.config = model, model.config
        self.seen: list[tuple[Array, Array]] = []  # images and maps
        self.asked: list[tuple[tuple[NDArray[Any], ...], Array]] = []  # prompts on windows, and masks

    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        embedding = self.model.encode(image)
        self.seen.append((image, embedding.maps))
        return embedding

    def decode(
        self,
        windows: Array,
        point_coords: Array,
        point_labels: NDArray[np.int64],
        mask_logits: Array,
        has_mask: NDArray[np.bool_],
    ) -> Decoded:
        """Answer prompts; see `promptless.model.Model`."""
        decoded = self.model.decode(windows, point_coords, point_labels, mask_logits, has_mask)
        self.asked.append(((windows, point_coords, point_labels, mask_logits, has_mask), decoded.low_res_logits))
        return decoded


# Eight bits.


def shown(model: Model, images: Iterable[Image]) -> list[Array]:
    """Return what a model is shown of images when they are segmented."""
    watched = Watched(model)
    for image in images:
        segment(image, watched)
    return [image for image, _ in watched.seen]


def quantized(path: Path, seen: Iterable[Array]) -> None:
    """Let the ONNX file that looks at images compute in 8 bits, but for norms and the convolutions at its ends.

    What decodes prompts stays as it is: in 8 bits it is no faster.
    """
    graph = onnx.load(path)
    store_single(graph.graph)
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder) / ENCODE
        onnx.save(graph, single)
        to_int8(single, path, ({"image": image[None]} for image in seen), operations=None, spare=spared)
    save(onnx.load(path), path)


def spared(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the operations that stay in single precision."""
    return ends(graph) + [node.name for node in graph.node if node.op_type == "LayerNormalization"]


def ends(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions that the image comes to first, and of those that answers come from."""
    makers = {name: [node] for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    first = nearest([value.name for value in graph.input], users, lambda node: node.output)
    last = nearest([value.name for value in graph.output], makers, lambda node: node.input)
    return sorted(first | last)


def nearest(
    values: Iterable[str],
    nodes: Mapping[str, list[onnx.NodeProto]],
    beyond: Callable[[onnx.NodeProto], Iterable[str]],
) -> set[str]:
    """Return the names of the convolutions that are met first from values on; sizes of values lead nowhere.

    `nodes` are those that a value comes to, and `beyond` has the values that one comes to from there.
    """
    found, waiting, been = set(), list(values), set()
    while waiting:
        value = waiting.pop()
        for node in nodes.get(value, ()) if value not in been else ():
            if node.op_type == "Conv":
                found.add(node.name)
            elif node.op_type != "Shape":
                waiting += beyond(node)
        been.add(value)
    return found


def store_single(graph: onnx.GraphProto) -> None:
    """Undo `promptless.export.store_half`: store constants as they are computed with."""
    halves = {c.name: c for c in graph.initializer if c.name.endswith(HALF) and c.data_type == TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in halves]
    for cast in casts:
        constant = halves[cast.input[0]]
        values = numpy_helper.to_array(constant).astype(np.float32)
        constant.CopyFrom(numpy_helper.from_array(values, cast.output[0]))
        graph.node.remove(cast)


# How near.


def compared(exact: Model, other: Model, images: Sequence[Image]) -> Parity:
    """Return how near two models are to each other on some images."""
    matchings, dices, largest = [], [], 0.0
    for image in images:
        watched = Watched(exact)
        mine, its = (segment(image, model).labels for model in (watched, other))
        matchings.append(match(mine, its))
        dices.append(dice(mine, its))
        largest = max(largest, furthest(watched, other))
    some = [value for value in dices if not math.isnan(value)]
    return Parity(len(images), strict(matchings), float(np.mean(some)) if some else math.nan, largest)


def strict(matchings: Sequence[Matching]) -> float:
    """Return the AP at an IoU of .9 over images, no number where nothing was found in any."""
    whole = pooled(matchings)
    found = whole.tp + whole.fp + whole.fn
    return float(whole.precision[STRICT]) if found[STRICT] else math.nan


def furthest(watched: Watched, other: Model) -> float:
    """Return how far another model's logits are from a watched one's, which was shown and asked the same."""
    maps = (np.abs(maps - other.encode(image).maps).max() for image, maps in watched.seen)
    masks = (np.abs(logits - other.decode(*prompts).low_res_logits).max() for prompts, logits in watched.asked)
    return float(max((*maps, *masks)))


def made_up(config: ModelConfig) -> Image:
    """Return an image of bright spots, as large as the objects that a model is for, on noise."""
    diameter = float(np.sqrt(np.prod(config.kind.object_px)))
    pitch = 2 * diameter
    side = round(SPOTS * pitch)
    away = np.indices((side, side)) % pitch - pitch / 2
    values = np.where(np.hypot(*away) < diameter / 2, 0.8, 0.2)
    noise = np.random.default_rng(0).normal(0, 0.05, values.shape)
    return Image(ndimage.gaussian_filter(values + noise, 1).astype(np.float32)[None])
