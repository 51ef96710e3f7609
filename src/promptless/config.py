"""What a model folder says of its model, checked when it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

UPSCALING = 4
"""SAM's mask decoder answers with four logits per cell of the embedding and axis."""
INSTANCES, DIRECT, SEMANTIC, VOXELS = OUTPUTS = ("instances", "direct", "semantic", "voxels")
"""What a model gives: every object decoded on its own; all objects in one pass, none decoded (a planar student); one
mask from one set of prompts (SAC, as published); or a class for every voxel of a scan (AutoProSAM)."""


@dataclass(frozen=True)
class Kind:
    """What a model is for: the images it was trained on."""

    axes: str = "yx"
    modality: str = "nuclei in fluorescence, bright-field and stained tissue"
    pixel_size: float = 0.5  # um: images of known pixel size are resampled to this
    object_px: tuple[float, float] = (8.0, 100.0)  # diameters of objects, in pixels
    small_px: float = 0.0  # where the pixel size is not known, an image of objects smaller than this is seen doubled


@dataclass(frozen=True)
class WindowConfig:
    """The part of the embedding that is decoded around a prompt (see `promptless.windows`)."""

    stride: int = 4  # pixels per cell of the embedding
    cells: int = 16  # cells per side
    fill: float = 0.75  # an object whose box takes more of the window is decoded on an embedding pooled by 2, 4, ...
    chunk: int = 32  # windows decoded at once
    points: int = 8  # points per prompt that the decoder was trained with; padded with label -1

    @property
    def size(self) -> int:
        """Pixels per side of the window, unpooled."""
        return self.stride * self.cells

    @property
    def logits(self) -> int:
        """Logits per side of a window's mask, and of its mask prompt."""
        return UPSCALING * self.cells

    @property
    def pitch(self) -> float:
        """Pixels per logit, unpooled."""
        return self.stride / UPSCALING


@dataclass(frozen=True)
class ProposalConfig:
    """How the generator's maps become objects (see `promptless.propose`)."""

    foreground: float = 0.5  # probability from which a pixel belongs to some object, or to the one mask (SAM: 0.5)
    smooth: float = 1.5  # pixels: standard deviation of the Gaussian over the interior distance
    saddles: tuple[float, ...] = (0.75,)  # readings: peaks are one object from this pass-to-peak ratio on
    min_area: int = 12  # pixels
    negatives: int = 3


@dataclass(frozen=True)
class PointsConfig:
    """How a foreground becomes the points of one prompt set: SAC's "prompt discrimination" (arXiv 2401.13220).

    [U] is what sources available to us do not state, [I] what is inferred from related work.
    """

    rule: str = "centroid"  # "centroid" or "probability", the paper's two; which one won: [U]; "none": no prompts
    positives: int = 32  # at most, labelled 1; the paper says "a large number" of prompts, how many: [U]
    negatives: int = 32  # at most, labelled 0; the ratio to the positives: [U]; 0 for none
    threshold: float = 0.5  # probability above which a pixel is foreground: [U], one half [I]
    seed: int = 0  # of what is drawn when segmenting: [U]; one seed, the same points every time

    def __post_init__(self) -> None:
        if self.rule not in POINT_RULES:
            raise ValueError(f"the rule for points is {self.rule!r}; it must be one of {', '.join(POINT_RULES)}")
        if min(self.positives, self.negatives) < 0:
            raise ValueError(
                f"positives ({self.positives}) and negatives ({self.negatives}) are counts; they must be at least 0"
            )
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold of points is {self.threshold}; probabilities lie between 0 and 1")

    @property
    def tokens(self) -> int:
        """Points per prompt set, padding included, of which there is always one, as in SAM where there is no box.

        Padding is attended to, so a model is asked with as many tokens as it was trained with.
        """
        return self.positives + self.negatives + 1


POINT_RULES = ("centroid", "probability", "none")
"""How points are chosen (see `promptless.discriminate`)."""


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter adds to a frozen backbone (SAC, arXiv 2401.13220: LoRA, prompt generator, mask decoder).

    [U] is what sources available to us do not state, [I] what is inferred from related work.
    """

    backbone: str  # its name; which of the paper's is the headline: [U]
    sha256: str  # of its weights
    rank: int = 4  # of LoRA on q and v of every attention layer of the image encoder; 0 for none: [U], SAMed's [I]
    alpha: int | None = None  # LoRA's share is scaled by alpha / rank; None for rank, no scaling: [U], SAMed's [I]
    dropout: float = 0.0  # before LoRA, while training: [U], SAMed has none [I]
    trained: tuple[str, ...] = ("mask_decoder",)  # parts of the backbone that are trained whole: some of `PARTS`
    generator: tuple[int, ...] = (16, 32, 64, 128, 256)  # channels per level of the prompt generator's U-Net: [U]
    features: str = "backbone"  # whose U-Net features our small base adds to its embedding: its own, or "generator"

    def __post_init__(self) -> None:
        strange = sorted(set(self.trained) - set(PARTS))
        if strange:
            raise ValueError(f"trained names {', '.join(strange)}; a backbone has {', '.join(PARTS)}")
        if self.features not in FEATURES:
            raise ValueError(f"features is {self.features!r}; it must be {' or '.join(FEATURES)}")
        if self.rank < 0:
            raise ValueError(f"the rank is {self.rank}; it must be at least 1 (4 is usual), or 0 for no LoRA")
        if self.alpha is not None and self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; it must be at least 1, and without it the rank is taken")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it is a share, from 0 to below 1")


PARTS = ("mask_decoder", "prompt_encoder", "neck", "image_encoder", "project")
"""Parts of a backbone that an adapter may train whole; "project" is our small base's alone."""
FEATURES = ("backbone", "generator")


class Needed(NamedTuple):
    """A backbone by its name, and by the sha256 of its weights, which decides."""

    backbone: str
    sha256: str


@dataclass(frozen=True)
class Intensity:
    """How the values of a scan become what a network sees.

    "window" cuts to `low` and `high`, then takes off `mean` and divides by `std` (CT, in HU); "percentiles" cuts to
    those two percentiles of the scan, then brings it to mean 0 and standard deviation 1 (MR; `mean`, `std` are idle).
    """

    rule: str = "window"
    low: float = -991.0  # AutoProSAM's for AMOS CT, as the other three
    high: float = 362.0
    mean: float = 50.0
    std: float = 141.0

    def __post_init__(self) -> None:
        if self.rule not in INTENSITIES:
            raise ValueError(f"the rule for intensities is {self.rule!r}; it must be {' or '.join(INTENSITIES)}")
        if not self.low < self.high or self.std <= 0:
            raise ValueError(
                f"intensities lie from {self.low} to {self.high}, in units of {self.std}; the first must be below the "
                "second, the third above 0"
            )


INTENSITIES = ("window", "percentiles")


AUTOPROSAM, UNET, SWIN_UNETR, COMPACT = VOLUME_NETWORKS = ("autoprosam", "unet", "swin_unetr", "compact")


@dataclass(frozen=True)
class VolumeConfig:
    """How a model looks at a scan; axes are z, y, x of the patient."""

    network: str = AUTOPROSAM  # or one of its rivals and students; its sizes are `ModelConfig.network`
    spacing: tuple[float, ...] | None = None  # mm, to which scans are resampled; None: they are taken as they are
    crop: tuple[int, ...] = (128, 128, 128)  # voxels seen at once, in training and after
    overlap: float = 0.25  # share of a crop that it has in common with the next
    blend: str = "gaussian"  # weights of crops where they overlap; "constant", as published
    flips: bool = False  # mirrored views are averaged: eight times the work, where all are
    mirrored: str | None = None  # axes along which training turned scans round, and views may be; None: not known
    extent: tuple[float, ...] | None = None  # mm, the longest scans that it was made for; longer ones are refused
    intensity: Intensity = field(default_factory=Intensity)

    def __post_init__(self) -> None:
        if self.network not in VOLUME_NETWORKS:
            raise ValueError(f"the network is {self.network!r}; it must be one of {', '.join(VOLUME_NETWORKS)}")
        if self.blend not in BLENDS:
            raise ValueError(f"blend is {self.blend!r}; it must be {' or '.join(BLENDS)}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; it is a share of the crop, from 0 to below 1")
        for name in ("crop", "spacing", "extent"):
            lengths = getattr(self, name)
            if lengths is not None and not are_lengths(lengths):
                raise ValueError(f"{name} is {lengths}; it must be three lengths above 0, for {', '.join(VOLUME_AXES)}")
        if not all(isinstance(length, int) for length in self.crop):
            raise ValueError(f"crop is {self.crop}; it counts voxels, in whole numbers")


BLENDS = ("gaussian", "constant")
VOLUME_AXES = "zyx"


def are_lengths(values: Any) -> bool:
    """Return whether a value is a finite number above 0 for each axis of a volume."""
    numbers = isinstance(values, tuple | list) and all(isinstance(value, int | float) for value in values)
    return numbers and len(values) == len(VOLUME_AXES) and all(0 < value < math.inf for value in values)


FLOAT32, INT8 = ARITHMETICS = ("float32", "int8")
"""How ONNX files compute. Of a model that decodes prompts what looks at the image has 8 bits, what decodes has not."""


@dataclass(frozen=True)
class OnnxConfig:
    """What the ONNX file takes that looks at images or crops, as many at once as there are, and how it computes."""

    opset: int
    crop: tuple[int, ...] | None = None  # the only size that it takes; None: any
    multiple: int = 1  # of which the lengths that it takes are multiples; what is shorter is filled up
    arithmetic: str = FLOAT32  # weights are stored in half precision then; or INT8
    bytes_per_voxel: int = 0  # of memory that a crop of a scan takes, about

    def __post_init__(self) -> None:
        if self.arithmetic not in ARITHMETICS:
            raise ValueError(f"the arithmetic is {self.arithmetic!r}; it must be {' or '.join(ARITHMETICS)}")


@dataclass(frozen=True)
class Teacher:
    """Who taught a model beside its labels: another model, and what share of the loss was its."""

    name: str
    sha256: str  # of the teacher's whole folder: `promptless.registry.model_hash`
    weight: float


@dataclass(frozen=True)
class ModelConfig:
    """`config.json` of a model folder. `files` has the sha256 of every other file."""

    name: str
    version: str
    licence: str
    kind: Kind = field(default_factory=Kind)
    pad: int = 16  # pixels: an image's sides are padded to multiples of this
    align: int = 128  # pixels: tiles begin on multiples of this, so that attention windows do not depend on them
    window: WindowConfig = field(default_factory=WindowConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    min_score: float = 0.5
    min_share: float | None = None  # of the median score in the middle of an image; for models that decode nothing
    output: str = INSTANCES  # or DIRECT, SEMANTIC, VOXELS
    volume: VolumeConfig | None = None  # of a model whose output is VOXELS
    input_size: int | None = None  # pixels per side: the most that the image encoder takes; None: any
    adapter: AdapterConfig | None = None  # None: the model stands alone
    classes: tuple[str, ...] = ()  # names of the classes 1, 2, ... of objects, where the model tells them
    teacher: Teacher | None = None  # of a model that was distilled
    onnx: OnnxConfig | None = None  # of a model that runs without torch; those of planes say it since a later version
    network: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output is {self.output!r}; it must be one of {', '.join(OUTPUTS)}")
        if (self.output == VOXELS) != (self.volume is not None):
            raise ValueError(f'output = "{VOXELS}" and [volume] belong together; {self.name} has one without the other')
        if self.min_share is not None and (self.output != DIRECT or not 0 <= self.min_share <= 1):
            raise ValueError(
                f"min_share is {self.min_share}; it lies between 0 and 1, and is for models whose output is {DIRECT}: "
                f"that of {self.name} is {self.output}"
            )

    @property
    def inflates(self) -> Needed | None:
        """The backbone that a model on volumes inflates; None of one that stands alone, or is on planes."""
        if self.volume is None or self.volume.network != AUTOPROSAM:
            return None
        return Needed(self.network.get("backbone", ""), self.network.get("sha256", ""))

    @property
    def tells_objects(self) -> bool:
        """Whether the model tells apart objects that touch."""
        return self.output in (INSTANCES, DIRECT)

    @property
    def maps(self) -> int:
        """How many maps the prompt generator yields: those by what the model gives, and one per class."""
        return OWN_MAPS[self.output] + self.class_maps

    @property
    def class_maps(self) -> int:
        """How many of them, the last, are of background and classes."""
        return len(self.classes) + 1 if self.classes else 0

    @classmethod
    def read(cls, path: Path) -> ModelConfig:
        """Read `config.json`."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON ({error}); fetch or export the model again") from error
        return cls.from_dict(content, path)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: Path | str) -> ModelConfig:
        """Return the configuration that a recipe's table, or `config.json`, describes."""
        nested: dict[str, Any] = {
            name: from_dict(kind, content.get(name, {}), f"{where}, {name}") for name, kind in NESTED.items()
        }
        if content.get("adapter") is not None:
            nested["adapter"] = from_dict(AdapterConfig, content["adapter"], where)
        if content.get("teacher") is not None:
            nested["teacher"] = from_dict(Teacher, content["teacher"], f"{where}, teacher")
        if content.get("onnx") is not None:
            nested["onnx"] = from_dict(OnnxConfig, content["onnx"], f"{where}, onnx")
        if content.get("volume") is not None:
            volume = content["volume"]
            intensity = from_dict(Intensity, volume.get("intensity", {}), f"{where}, volume.intensity")
            nested["volume"] = from_dict(VolumeConfig, {**volume, "intensity": intensity}, f"{where}, volume")
        return from_dict(cls, {**content, **nested}, where)

    def write(self, path: Path) -> None:
        """Write `config.json`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


OWN_MAPS = {INSTANCES: 2, DIRECT: 3, SEMANTIC: 1, VOXELS: 1}
"""Foreground, interior distance where objects are told apart, and quality where none is decoded."""
NESTED = {"kind": Kind, "window": WindowConfig, "proposals": ProposalConfig, "points": PointsConfig}


def from_dict(kind: type[T], values: Mapping[str, Any], where: Path | str) -> T:
    """Return the dataclass `kind` made of `values`, lists as tuples; unknown names are refused."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"{where} says {', '.join(unknown)}, which promptless does not know; {meant}it knows {sorted(known)}"
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
