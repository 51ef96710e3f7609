"""Adapters as files: what one is, whether it is whole, and what remains of it without its backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptless import library, loading, registry
from promptless.config import INSTANCES, AdapterConfig, ModelConfig
from promptless.io.atomic import replacing_folder
from promptless.prompts import Points
from promptless.semantic import asked_whole
from promptless.view import tiling

if TYPE_CHECKING:
    from promptless.model import Array, ImageEmbedding, Model
    from promptless.networks.adapted import Adapted

CARD, REPORT = "README.md", "run/report/report.json"
"""What says how good an adapter is, where they are there: a card with a section "Figures", and figures as JSON."""
LORA, GENERATOR, TRAINED = "adapter_model.safetensors", "generator.safetensors", "trained.safetensors"
"""The files of an adapter; `promptless.networks.adapted` writes them."""
PICTURE = 64
"""Pixels per side of the made-up image that an adapter is tried on."""


@dataclass(frozen=True)
class Part:
    """A part of an adapter: its parameters, and the bytes that they take on disk."""

    parameters: int
    bytes: int


@dataclass(frozen=True)
class Info:
    """What an adapter is."""

    name: str
    version: str
    licence: str
    adapter: AdapterConfig
    backbone_here: str | None  # the name under which its backbone is here; None where it is not
    output: str
    classes: tuple[str, ...]
    input_size: int | None
    parts: Mapping[str, Part]
    bytes: int  # of all files in the folder
    figures: str = ""  # from the card
    report: Mapping[str, Any] = field(default_factory=dict)


def info(folder: str | Path) -> Info:
    """Return what the adapter in a folder is; no weights are read, and torch is not needed."""
    folder = Path(folder)
    config, adapter = opened(folder)
    return Info(
        config.name,
        config.version,
        config.licence,
        adapter,
        backbone_here(adapter),
        config.output,
        config.classes,
        config.input_size,
        parts(folder, adapter),
        sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        figures(folder / CARD),
        json.loads((folder / REPORT).read_text(encoding="utf-8")) if (folder / REPORT).is_file() else {},
    )


def opened(folder: str | Path) -> tuple[ModelConfig, AdapterConfig]:
    """Return the configuration of the adapter in a folder, and of what it adds; raise where there is no adapter."""
    folder = Path(folder)
    if not (folder / registry.CONFIG).is_file():
        raise FileNotFoundError(f"{folder} holds no adapter: it has no {registry.CONFIG}")
    config = ModelConfig.read(folder / registry.CONFIG)
    if config.adapter is None:
        raise ValueError(f"{folder} holds the model {config.name}, which stands alone; it is no adapter")
    return config, config.adapter


def backbone_here(adapter: AdapterConfig) -> str | None:
    """Return the name under which the backbone of an adapter is here, None where it is not."""
    try:
        return library.under(adapter)
    except (ValueError, FileNotFoundError):
        return None


def parts(folder: str | Path, adapter: AdapterConfig) -> dict[str, Part]:
    """Return the parts of an adapter: LoRA, the prompt generator, and what is trained whole, by name."""
    folder = Path(folder)
    held = {"lora": header(folder / LORA)} if adapter.rank else {}
    held["generator"] = header(folder / GENERATOR)
    trained = header(folder / TRAINED)
    for name in adapter.trained:
        held[name] = {key: value for key, value in trained.items() if key.startswith(f"{name}.")}
    return {name: measured(tensors) for name, tensors in held.items()}


def header(path: Path) -> dict[str, Any]:
    """Return names, shapes and places of the tensors in a safetensors file."""
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} is no safetensors file, or damaged; copy the adapter's whole folder again") from error
    return {name: value for name, value in content.items() if name != "__metadata__"}


def measured(tensors: Mapping[str, Any]) -> Part:
    """Return how many numbers tensors have, and the bytes they take; counters are no parameters."""
    numbers = [tensor for tensor in tensors.values() if tensor["dtype"].startswith(("F", "BF"))]
    spans = [tensor["data_offsets"] for tensor in tensors.values()]
    return Part(sum(int(np.prod(t["shape"], dtype=np.int64)) for t in numbers), sum(b - a for a, b in spans))


def figures(card: Path) -> str:
    """Return what a card says under "Figures"; nothing where there is no card, or no such section."""
    if not card.is_file():
        return ""
    _, _, after = card.read_text(encoding="utf-8").partition("## Figures\n")
    return after.partition("\n## ")[0].strip()


def check(folder: str | Path, device: str = "auto") -> str:
    """Return in words what was found good about an adapter; raise where anything is wrong.

    Its files are compared with their hashes, its backbone is found and compared, every weight is put in its place,
    and one prompt on a made-up image is answered.
    """
    folder = Path(folder)
    config, adapter = opened(folder)
    tile, halo = tiling(config, None, None)
    model = loading.load(folder, device=device)
    answered(model, folder)
    return (
        f"{len(config.files)} files, the backbone {library.under(adapter)} and a prompt on a made-up image; "
        f"tiles are {tile} pixels per side with {halo} around them"
    )


def answered(model: Model, folder: Path) -> None:
    """Ask a model about a made-up disc; raise where the answer is no number."""
    disc = np.hypot(*(np.indices((PICTURE, PICTURE)) - PICTURE / 2)) < PICTURE / 4
    side = -(-PICTURE // model.config.pad) * model.config.pad
    picture = np.pad(np.where(disc, 0.8, 0.2).astype(np.float32), (0, side - PICTURE), mode="edge")
    seen = model.encode(np.repeat(picture[None], 3, axis=0))
    window = model.config.window
    cells = np.zeros((1, len(seen.features), window.cells, window.cells), np.float32)
    part = seen.features[:, : window.cells, : window.cells]
    cells[0, :, : part.shape[1], : part.shape[2]] = part
    decoded = model.decode(
        cells,
        np.full((1, 1, 2), PICTURE / 2, np.float32),
        np.ones((1, 1), np.int64),
        np.zeros((1, 1, window.logits, window.logits), np.float32),
        np.zeros(1, np.bool_),
    )
    whole = [] if model.config.output == INSTANCES else [answered_whole(model, seen)]
    if not all(np.isfinite(values).all() for values in (*seen, *decoded, *whole)):
        raise ValueError(f"the adapter in {folder} answers with values that are no numbers; train it again")


def answered_whole(model: Model, seen: ImageEmbedding) -> Array:
    """Return the one mask of a semantic model for a point in the middle of the made-up image."""
    point = Points.of([(PICTURE / 2, PICTURE / 2)])
    return asked_whole(model).whole(seen.features, *point.padded(model.config.points.tokens))


def merge(folder: str | Path, output: str | Path) -> str:
    """Write what an adapter and its backbone are together into a folder, which must not be there; say what it is.

    On our small base that is a model that stands alone, as ONNX. On a published backbone it is a backbone.
    """
    folder, output = Path(folder), Path(output)
    config, _ = opened(folder)
    if output.exists():
        raise FileExistsError(f"{output} is there; delete it, or choose another folder with -o")
    network = loading.adapted_network(folder, config)
    if network.backbone.image_size is None:
        from promptless import planar_export

        planar_export.export(folder, output)
        return f"the model {config.name} as ONNX, which needs neither torch nor its backbone"
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(output) as made:
        return write_backbone(network, config, made)


def write_backbone(network: Adapted, config: ModelConfig, folder: Path) -> str:
    """Write a published backbone with an adapter in its weights, as `transformers` has it; say what it is."""
    from safetensors.torch import save_file

    from promptless.export import say_merged
    from promptless.networks.adapted import merged
    from promptless.networks.backbones import ARCHITECTURES, file_state, recognise

    state = file_state(merged(network))
    kind = recognise(state, config.name)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / library.WEIGHTS, metadata={"format": "pt"})
    ARCHITECTURES[kind].config().save_pretrained(folder)
    what = (
        f"a {kind} backbone, in the layout of transformers, without the prompt generator "
        f"(promptless models import {library.WEIGHTS} --name NAME keeps it); ONNX is for the small base only"
    )
    say_merged(folder, config, what)
    return what
