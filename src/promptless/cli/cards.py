"""What is told of a model by `promptless models card`: its card, and what its folder says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from promptless import library, registry
from promptless.config import DIRECT, INSTANCES, SEMANTIC, VOXELS, ModelConfig
from promptless.published import PUBLISHED

CARD, PARITY = "README.md", "parity.json"
GIVES = {
    INSTANCES: "every object decoded on its own",
    DIRECT: "all objects in one pass",
    SEMANTIC: "one mask",
    VOXELS: "a class for every voxel",
}
"""What a model gives, by `ModelConfig.output`."""


def lines(name: str) -> Iterator[str]:
    """Return what is known of a model that ships or is in a folder, or of a backbone that is here or published."""
    if name in library.names():
        return of_backbone(name)
    if name in PUBLISHED and not Path(name).exists():
        return of_published(name)
    return of_model(name)


def of_model(name: str) -> Iterator[str]:
    """Yield the card of a model that ships, or of one in a folder, and what its folder says of it."""
    folder = registry.find(name)
    config = ModelConfig.read(folder / registry.CONFIG)
    if (folder / CARD).is_file():
        yield plain((folder / CARD).read_text(encoding="utf-8"))
        yield ""
    yield f"{config.name} {config.version}, licence {config.licence}"
    yield from (f"  {title:10} {text}" for title, text in facts(folder, config) if text)


def plain(text: str) -> str:
    """Return a card without the block of settings that the hub wants at its head."""
    return (text.split("---\n", 2)[-1] if text.startswith("---\n") else text).strip()


def facts(folder: Path, config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Yield what a model folder says of its model, title and text."""
    yield "for", config.kind.modality
    yield "gives", GIVES[config.output]
    yield "classes", ", ".join(config.classes)
    yield "adapter", "" if config.adapter is None else f"on {config.adapter.backbone}; see promptless adapter info"
    yield "inflates", "" if config.inflates is None else config.inflates.backbone
    if config.teacher is not None:
        teacher = config.teacher
        yield "taught by", f"{teacher.name} (hash {teacher.sha256[:12]}), whose weight was {teacher.weight:g}"
    if config.onnx is not None:
        crop = "any size" if config.onnx.crop is None else " x ".join(map(str, config.onnx.crop))
        yield "ONNX", f"opset {config.onnx.opset}, {config.onnx.arithmetic}, {crop}"
    yield "files", ", ".join(f"{file} {(folder / file).stat().st_size / 1e6:.2g} MB" for file in config.files)
    if (folder / PARITY).is_file():
        told = json.loads((folder / PARITY).read_text(encoding="utf-8"))
        yield "parity", ", ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in told.items())


def shown(value: object) -> str:
    """Return a value of a report for a person."""
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:.4g}" if value is not None else "-"


def of_backbone(name: str) -> Iterator[str]:
    """Yield what is known of a backbone that is here."""
    found = library.provenance(library.find(name))
    yield f"{name}, licence {found.licence}"
    yield f"  is         a {found.backbone}, a backbone to adapt"
    yield f"  from       {found.source}"
    yield f"  its sha256 {found.source_sha256}"
    yield f"  in         {library.find(name)}"


def of_published(name: str) -> Iterator[str]:
    """Yield what is known of a backbone that can be pulled."""
    published = PUBLISHED[name]
    yield f"{name}, licence {published.licence}"
    yield f"  is         {published.about}: a {published.backbone}, a backbone to adapt"
    yield f"  from       {published.page}"
    yield f"  not here   promptless models pull {name} fetches {published.size / 1e6:.0f} MB"
