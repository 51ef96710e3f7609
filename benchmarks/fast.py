"""Figures of a student that finds objects in one pass, against its teacher, on 2018 Data Science Bowl images.

    python benchmarks/fast.py accuracy --split test    mSA and pooled AP of both, the difference paired by image
    python benchmarks/fast.py speed                    milliseconds per 512 x 512, seconds per 2048 x 2048, of both
    python benchmarks/fast.py int8 --split dev         8 bits against single precision: time of the network, mSA, parity

`--student` and `--teacher` are names or folders. Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cost import hundred_nuclei
from images import GROUPS, samples, timed
from promptless import load, segment
from promptless.data.sample import Sample
from promptless.image import Image
from promptless.metrics.bootstrap import interval
from promptless.metrics.instances import Matching, match, mean_segmentation_accuracy, pooled
from promptless.model import Model
from promptless.planar_export import export
from promptless.registry import find

CALIBRATION = 48
"""Training images that 8 bits are calibrated on."""


def accuracy(asked: argparse.Namespace) -> None:
    """Print how well student and teacher do on a split."""
    chosen = samples(asked.split)
    student, teacher = (matchings(load(name), chosen) for name in (asked.student, asked.teacher))
    print(f"dsb2018 {asked.split}, {len(chosen)} images, 95 % bootstrap intervals over images (2000 draws)")
    for group, prefixes in GROUPS.items():
        pairs = [
            pair for sample, *pair in zip(chosen, student, teacher, strict=True) if sample.category.startswith(prefixes)
        ]
        show(group, pairs)


def show(title: str, pairs: Sequence[Sequence[Matching]]) -> None:
    """Print the figures of one group of images, (student, teacher) each."""
    print(f"\n{title} ({len(pairs)} images)          student   teacher   difference")
    for name, score in FIGURES.items():
        one, other = (score([pair[i] for pair in pairs]) for i in (0, 1))
        low, high = interval(pairs, partial(difference, score), np.random.default_rng(0))
        print(f"  {name:<24} {one:8.3f}  {other:8.3f}   {one - other:+.3f} [{low:+.3f}, {high:+.3f}]")


Score = Callable[[Sequence[Matching]], float]


def difference(score: Score, pairs: Sequence[Sequence[Matching]]) -> float:
    """Return how much better the first of each pair are."""
    return score([pair[0] for pair in pairs]) - score([pair[1] for pair in pairs])


FIGURES: dict[str, Score] = {
    "mSA": mean_segmentation_accuracy,
    "AP at IoU .5, pooled": lambda ms: float(pooled(ms).precision[0]),
    "AP at IoU .75, pooled": lambda ms: float(pooled(ms).precision[5]),
}


def matchings(model: Model, chosen: Sequence[Sample]) -> list[Matching]:
    """Return how the objects that a model finds in each sample match the true ones."""
    return [match(sample.labels, segment(Image(sample.pixels), model).labels) for sample in chosen]


def speed(asked: argparse.Namespace) -> None:
    """Print what an image costs, in a process that is running."""
    image, n = hundred_nuclei()
    large = Image(np.tile(image.data, (1, 4, 4)))
    print(f"{len(os.sched_getaffinity(0))} cores; 512 x 512 with {n} nuclei, and 16 copies of it side by side; medians")
    seconds = {}
    for name in (asked.teacher, asked.student):
        model = load(name)
        result = segment(image, model)
        seconds[name] = timed(lambda model=model: segment(image, model)), timed(lambda m=model: segment(large, m), 3)
        small, whole = seconds[name]
        print(f"{name}: {1000 * small:.0f} ms, {whole:.2f} s; {result.n_objects} objects; {result.manifest['seconds']}")
    ratios = [slow / quick for slow, quick in zip(seconds[asked.teacher], seconds[asked.student], strict=True)]
    print(f"the student is {ratios[0]:.1f} and {ratios[1]:.1f} times as fast")


def eight_bits(asked: argparse.Namespace) -> None:
    """Print what 8 bits cost and save."""
    shown = [Image(sample.pixels) for sample in calibration()]
    with tempfile.TemporaryDirectory() as folder:
        report = export(find(asked.student), Path(folder) / "int8", shown)
        print(f"on {report.images} training images: {report}")
        exact, quick = load(asked.student, runtime="onnx"), load(Path(folder) / "int8")
        megabytes = (Path(folder) / "int8" / "encode.onnx").stat().st_size / 1e6
        pixels = np.random.default_rng(0).random((3, 512, 512), np.float32)
        times = [timed(lambda model=model: model.encode(pixels), 15) for model in (exact, quick)]
        print(f"network, 512 x 512: {1000 * times[0]:.1f} ms, in 8 bits {1000 * times[1]:.1f} ms", end="")
        print(f", {times[0] / times[1]:.2f} times as fast; {megabytes:.1f} MB")
        chosen = samples(asked.split)
        pairs = list(zip(matchings(quick, chosen), matchings(exact, chosen), strict=True))
        show(f"dsb2018 {asked.split}, 8 bits as student, single precision as teacher", pairs)


def calibration() -> list[Sample]:
    """Return training images, evenly spread over the split."""
    every = samples("train")
    return every[:: max(1, len(every) // CALIBRATION)][:CALIBRATION]


WHAT = {"accuracy": accuracy, "speed": speed, "int8": eight_bits}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--student", default="nuclei-fast")
    parser.add_argument("--teacher", default="nuclei")
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    asked = parser.parse_args()
    WHAT[asked.what](asked)


if __name__ == "__main__":
    main()
