"""AutoProSAM (arXiv 2308.14936; WACV 2025): a crop of a volume to class logits, and nobody prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from promptless.networks.backbones import Backbone
from promptless.networks.volume.decoder import Aggregation, FineAggregation
from promptless.networks.volume.encoder import ADAPTERS, TAPS, VolumeEncoder
from promptless.networks.volume.folding import STARTS
from promptless.networks.volume.generator import DenseGenerator, Points, spots

AXES = "zyx"
"""Names of the axes of a volume in patient space, in array order."""
GENERATORS: dict[str, int | None] = {"last": TAPS - 1, "first": 0, "none": None}
"""The tap that the prompt takes the place of: the last as in the paper's figure, the first as in the public code."""
DECODERS: dict[str, tuple[int, ...]] = {"mlam": tuple(range(TAPS)), "fine": tuple(range(TAPS)), "single": (TAPS - 1,)}
"""The taps that are decoded; "fine" is ours, and keeps every voxel of the crop."""
CHOICES: dict[str, tuple[str, ...]] = {
    "slices": tuple(AXES),
    "adapter": tuple(ADAPTERS),
    "start": STARTS,
    "generator": tuple(GENERATORS),
    "decoder": tuple(DECODERS),
}


@dataclass(frozen=True)
class AutoProSamConfig:
    """What an AutoProSAM is made of; the defaults are those published."""

    backbone: str
    sha256: str  # of the backbone's weights
    classes: int  # background included
    slices: str = "x"  # the axis along which SAM's slices are stacked
    adapter: str = "published"
    start: str = "published"  # of slice and depth embedding
    generator: str = "last"
    decoder: str = "mlam"
    points: int = 0  # channels of a user's points; as many as `classes` where a click says what is there
    window: int = 8  # tokens per side
    depth: int = 32  # entries of the depth embedding
    upsampling: int = 4  # pixels of SAM per voxel
    widths: tuple[int, ...] = (16, 32, 64, 128, 160)  # of the generator
    head: int = 128  # channels of each head of the decoder

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        if self.classes < 2:
            raise ValueError(f"classes is {self.classes}; background and one structure are two")
        if self.points and self.generator == "none":
            raise ValueError('points go into the generator, which is "none"; set points to 0, or choose a generator')
        tap = GENERATORS[self.generator]
        if tap is not None and tap not in DECODERS[self.decoder]:
            raise ValueError(
                f'generator = "{self.generator}" prompts a tap that decoder = "{self.decoder}" does not look at; '
                'take generator = "last"'
            )


class Answer(NamedTuple):
    """What the network says of a crop."""

    logits: Tensor  # (batch, classes, *spatial)
    prompt: Tensor | None  # (batch, channel, *spatial / stride): the dense map that prompted it


class AutoProSam(nn.Module):
    """Inflated image encoder, dense prompt generator and multi-level decoder, on a frozen backbone.

    Crops are (batch, 1, *spatial), normalised, axes z, y, x, of any size. `learned` names what trains.
    """

    def __init__(self, backbone: Backbone, config: AutoProSamConfig) -> None:
        super().__init__()
        if backbone.digest != config.sha256:
            raise ValueError(
                f"the model is for {config.backbone} (sha256 {config.sha256}), "
                f"not for {backbone.name} (sha256 {backbone.digest}); load the backbone that it was trained on"
            )
        self.config, taps = config, DECODERS[config.decoder]
        self.encoder = VolumeEncoder(
            backbone,
            taps,
            adapter=config.adapter,
            start=config.start,
            window=config.window,
            depth=config.depth,
            upsampling=config.upsampling,
        )
        channels, self.stride, tap = backbone.embedding, self.encoder.stride, GENERATORS[config.generator]
        self.prompted = None if tap is None else taps.index(tap)
        self.generator = None if tap is None else DenseGenerator(channels, config.widths, config.points)
        aggregation = FineAggregation if config.decoder == "fine" else Aggregation
        self.decoder = aggregation(channels, len(taps), config.head, config.classes, self.stride)
        self.learned = tuple(name for name, p in self.named_parameters() if p.requires_grad)

    def forward(self, crop: Tensor, points: Points | None = None) -> Tensor:
        """Return logits (batch, classes, *spatial)."""
        return self.answer(crop, points).logits

    def answer(self, crop: Tensor, points: Points | None = None) -> Answer:
        """Return the logits of a crop and the prompt that led to them; a user's points join what is seen."""
        axis = AXES.index(self.config.slices) - len(AXES)
        seen = crop.movedim(axis, -1)
        embeddings = list(self.encoder(seen))
        prompt = None
        if self.generator is not None and self.prompted is not None:
            prompt = self.generator(embeddings[self.prompted], self.drawn(points, embeddings[0], axis))
            embeddings[self.prompted] = prompt
        elif points is not None:
            raise ValueError('points go into the generator, which is "none" in this model')
        logits = self.decoder(embeddings, seen)
        return Answer(logits.movedim(-1, axis), None if prompt is None else prompt.movedim(-1, axis))

    def drawn(self, points: Points | None, embedding: Tensor, axis: int) -> Tensor | None:
        """Return a user's points on the grid of an embedding, whose last axis is the crop's `axis`."""
        if points is None:
            return None
        order = list(range(len(AXES)))
        order.append(order.pop(axis))
        return spots(Points(points.coords[..., order], points.weights), tuple(embedding.shape[2:]), self.stride)

    def learned_state(self) -> dict[str, Tensor]:
        """Return what trains, by name, in the network's own memory."""
        state = self.state_dict()
        return {name: state[name] for name in self.learned}
