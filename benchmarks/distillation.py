"""What a teacher is worth to a student, and what the student costs.

    python benchmarks/distillation.py volumes --teacher FOLDER --data FOLDER -o OUT
        [--student unet3d_s] [--labelled 14] [--steps 2000 | --minutes 20] [--seeds 0 1 2] [--weights 0 0.25 0.5 0.75]
        [--on logits | --on softmax --temperature 2] [--precision bfloat16] [--flips x] [--device cpu]

Every student is trained for as many steps, on as many labelled scans: with a teacher of weight 0.5 and without one for
each seed, with the other weights for the first seed. Without one, the other scans are not seen. `--minutes` takes as
many steps as the student with a teacher makes in that time on this machine, found out by a few. What is in OUT already
is not trained again, so the same command goes on after a break. OUT/distillation.json has all figures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from promptless import library, volume_export
from promptless.config import ModelConfig
from promptless.loading import torch_voxel_model
from promptless.networks.volume import models
from promptless.registry import find
from promptless.runtimes.onnx import OnnxVoxelModel
from promptless.train.distill import LOGITS, SOFTMAX, Distilling
from promptless.train.run import CHECKPOINT
from promptless.train.volume import students, training
from promptless.train.volume.recipe import TRAIN, UNLABELLED, VolumeRecipe

HALF = 0.5
"""The weight that all seeds are trained with."""
PACE = 20
"""Steps by which a machine's pace is found."""
REPEATS = 5


def volumes(asked: argparse.Namespace) -> None:
    """Train all students, and print their figures and costs."""
    if asked.minutes is not None:
        asked.steps = paced(asked)
    print(f"{asked.student}, {asked.labelled} labelled scans, {asked.steps} steps, teacher {asked.teacher}")
    runs = [(seed, weight) for seed in asked.seeds for weight in (0.0, HALF)]
    runs += [(asked.seeds[0], weight) for weight in asked.weights if weight not in (0.0, HALF)]
    rows = [row(asked, seed, weight) for seed, weight in runs]
    costs = [cost(name, folder, asked.output) for name, folder in models_of(asked, runs[0])]
    told = {"steps": asked.steps, "labelled": asked.labelled, "student": asked.student, "runs": rows, "costs": costs}
    (asked.output / "distillation.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    report(rows, costs)


def place(asked: argparse.Namespace, seed: int, weight: float) -> Path:
    """Return the folder of a student."""
    compared = f"_{asked.on}{asked.temperature:g}" if weight and asked.on != LOGITS else ""
    return Path(asked.output / f"{asked.student}_{asked.steps}_seed{seed}_weight{weight:g}{compared}")


def recipe_of(asked: argparse.Namespace, seed: int, weight: float) -> VolumeRecipe:
    """Return the recipe of a student; without weight it has no teacher, and sees labelled scans only."""
    how = Distilling(asked.teacher, weight or HALF, asked.on, asked.temperature, labelled=asked.labelled)
    schedule = replace(students.SCHEDULE, steps=asked.steps, precision=asked.precision)
    named = place(asked, seed, weight).name
    recipe = students.recipe_for(how, asked.student, asked.data, named, flips=asked.flips, seed=seed, schedule=schedule)
    if weight:
        return recipe
    ids = {part: names for part, names in recipe.ids.items() if part != UNLABELLED}
    return replace(recipe, ids=ids, distill=None, model=replace(recipe.model, teacher=None))


def row(asked: argparse.Namespace, seed: int, weight: float) -> dict[str, Any]:
    """Return the figures of a student, trained where it is not there."""
    folder = place(asked, seed, weight)
    if not (folder / "config.json").is_file():
        resume = (folder / training.RUN / TRAIN / CHECKPOINT).is_file()
        training.train(recipe_of(asked, seed, weight), folder, resume=resume, device=asked.device)
    told = json.loads((folder / training.RUN / "report" / "report.json").read_text())
    figures = {
        f"{part} {line['figure']}": line["value"]
        for part, lines in told["figures"].items()
        for line in lines
        if line["structure"] == "mean"
    }
    print(f"seed {seed}, weight {weight:g}: {figures}", flush=True)
    return {"seed": seed, "weight": weight, **figures}


def models_of(asked: argparse.Namespace, run: tuple[int, float]) -> list[tuple[str, Path]]:
    """Return the folders of teacher and student, by what they are; all students of a kind cost the same."""
    return [("teacher", find(asked.teacher)), (asked.student, place(asked, *run))]


def paced(asked: argparse.Namespace) -> int:
    """Return how many steps with a teacher fit into the minutes that are given."""
    recipe = recipe_of(argparse.Namespace(**{**vars(asked), "steps": PACE}), asked.seeds[0], HALF)
    recipe = replace(recipe, ids={**recipe.ids, "dev": recipe.ids["dev"][:1], "test": []})
    folder = asked.output / "pace"
    checkpoint = folder / training.RUN / TRAIN / CHECKPOINT
    if not checkpoint.is_file():
        training.train(recipe, folder, device=asked.device)
    seconds = torch.load(checkpoint, weights_only=True, map_location="cpu")["seconds"]
    return max(1, round(asked.minutes * 60 * PACE / seconds))


def cost(name: str, folder: Path, output: Path) -> dict[str, Any]:
    """Return parameters, operations, milliseconds and megabytes of a model, for one crop."""
    config = ModelConfig.read(folder / "config.json")
    assert config.volume is not None
    model, crop = torch_voxel_model(folder, config, None, "cpu"), np.zeros((1, 1, *config.volume.crop), np.float32)
    onnx = output / f"{name}_onnx"
    if not onnx.is_dir():
        volume_export.export(folder, onnx)
    light = OnnxVoxelModel(onnx, ModelConfig.read(onnx / "config.json"))
    backbone = None if config.inflates is None else library.load(library.under(config.inflates))
    network = models.begun(config, backbone).to("meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.empty(crop.shape, device="meta"))
    return {
        "model": name,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "GFLOP": counter.get_total_flops() / 1e9,
        "ms torch": milliseconds(model, crop),
        "ms onnxruntime": milliseconds(light, crop),
        "MB": (onnx / "network.onnx").stat().st_size / 1e6,
    }


def milliseconds(model: Any, crop: np.ndarray) -> float:
    """Return the median time of a crop, after one that is not counted."""
    seconds = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        model.logits(crop)
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.median(seconds[1:]))


def report(rows: Sequence[dict[str, Any]], costs: Sequence[dict[str, Any]]) -> None:
    """Print tables in Markdown."""
    names = [name for name in rows[0] if name not in ("seed", "weight")]
    table(("weight", "seeds", *names), [line(rows, weight, names) for weight in sorted({r["weight"] for r in rows})])
    pairs = [(a, b) for a in rows for b in rows if (a["seed"], a["weight"], b["weight"]) == (b["seed"], HALF, 0.0)]
    for name in names:
        gains = [a[name] - b[name] for a, b in pairs]
        print(f"{name}, with less without teacher, by seed: {', '.join(f'{gain:+.4f}' for gain in gains)}")
    table(tuple(costs[0]), [tuple(map(shown, told.values())) for told in costs])


def line(rows: Sequence[dict[str, Any]], weight: float, names: Sequence[str]) -> tuple[str, ...]:
    """Return a row of the table of weights: means over seeds, and their range where there are several."""
    own = [row for row in rows if row["weight"] == weight]
    cells = [[row[name] for row in own] for name in names]
    shown = (f"{np.mean(c):.4f}" + (f" ({min(c):.4f} to {max(c):.4f})" if len(c) > 1 else "") for c in cells)
    return (f"{weight:g}", str(len(own)), *shown)


def shown(cell: object) -> str:
    """Return a cell of the table of costs."""
    return f"{cell:,.4g}" if isinstance(cell, float) else str(cell)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table in Markdown."""
    for cells in (header, ("---",) * len(header), *rows):
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["volumes"])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--student", default="unet3d_s", choices=students.STUDENTS)
    parser.add_argument("--labelled", type=int, default=14)
    parser.add_argument("--steps", type=int, default=students.SCHEDULE.steps)
    parser.add_argument("--minutes", type=float, help="in place of --steps: of training, for each student")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75])
    parser.add_argument("--on", default=LOGITS, choices=(LOGITS, SOFTMAX), help="what is compared with the teacher's")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--precision", default=students.SCHEDULE.precision)
    parser.add_argument("--flips", default="x")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    volumes(asked)


if __name__ == "__main__":
    main()
