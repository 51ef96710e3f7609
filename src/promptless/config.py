"""What a model folder says of its model, checked when it is read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


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


@dataclass(frozen=True)
class ProposalConfig:
    """How the generator's maps become objects (see `promptless.propose`)."""

    foreground: float = 0.5  # probability from which a pixel belongs to some object
    smooth: float = 1.5  # pixels: standard deviation of the Gaussian over the interior distance
    saddles: tuple[float, ...] = (0.75,)  # readings: peaks are one object from this pass-to-peak ratio on
    min_area: int = 12  # pixels
    negatives: int = 3


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
    min_score: float = 0.5
    network: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ModelConfig:
        """Read `config.json`."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON ({error}); fetch or export the model again") from error
        nested = {"kind": Kind, "window": WindowConfig, "proposals": ProposalConfig}
        for name, kind in nested.items():
            content[name] = from_dict(kind, content.get(name, {}), path)
        return from_dict(cls, content, path)

    def write(self, path: Path) -> None:
        """Write `config.json`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def from_dict(kind: type[T], values: dict[str, Any], where: Path | str) -> T:
    """Return the dataclass `kind` made of `values`, lists as tuples; unknown names are refused."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"{where} says {', '.join(unknown)}, which {kind.__name__} does not know; it knows {sorted(known)}"
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
