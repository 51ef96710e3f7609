"""Figures of a planar model on 2018 Data Science Bowl images, and what it and its evaluation cost.

    python benchmarks/planar.py accuracy --split test     accuracy, with 95 % bootstrap intervals over images
    python benchmarks/planar.py cost                      seconds, memory, megabytes
    python benchmarks/planar.py evaluation                seconds and memory of `promptless evaluate`

The first two take `--model NAME_OR_FOLDER`. Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import product
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as PillowImage

from promptless import labels as label_images
from promptless import load, propose, segment
from promptless.data.sample import Sample
from promptless.data.sources import dsb2018
from promptless.image import Image
from promptless.masks import Masks
from promptless.metrics.bootstrap import interval
from promptless.metrics.comparison import Comparison
from promptless.metrics.instances import Matching, match, mean_segmentation_accuracy, pooled
from promptless.metrics.pixels import dice
from promptless.metrics.rules import DEFAULT_OBJECT_RULES, OBJECT_RULES, find
from promptless.model import ImageEmbedding, Model
from promptless.pipeline import View, encode
from promptless.prompts import Prompts
from promptless.tiles import Tile
from promptless.windows import decode

SPLITS = Path(__file__).parents[1] / "recipes" / "splits" / "dsb2018.json"
GROUPS = {"fluorescence": ("fluorescence",), "stained tissue": ("HE_",), "bright-field": ("brightfield",), "all": ("",)}


@dataclass(frozen=True)
class Scored:
    """One image's counts and pixel Dice, for the decoded masks and for the generator's own."""

    category: str
    decoded: Matching
    coarse: Matching
    dice: float


def samples(split: str) -> list[Sample]:
    """Return the samples of a split."""
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        raise SystemExit("set PROMPTLESS_DATA to the folder that holds dsb2018/")
    return list(dsb2018.read(Path(root) / "dsb2018", json.loads(SPLITS.read_text())[split]))


def scored(sample: Sample, model: Model) -> Scored:
    """Segment one image in both ways and compare with the truth."""
    result = segment(Image(sample.pixels), model)
    coarse = coarse_labels(Image(sample.pixels), model)
    return Scored(
        sample.category,
        match(sample.labels, result.labels),
        match(sample.labels, coarse),
        dice(sample.labels, result.labels),
    )


def coarse_labels(image: Image, model: Model) -> np.ndarray:
    """Return the label image of the prompt generator's own masks, assembled as decoded masks are."""
    config = model.config.proposals
    view, embedding = embedded(image, model)
    found = label_images.objects(propose.coarse_labels(embedding.maps, config))
    masks = tuple(mask.zoomed(1 / view.zoom, image.shape) for mask in found.values() if mask.area >= config.min_area)
    ones = np.ones(len(masks), np.float32)
    return label_images.paint(Masks(masks, np.arange(len(masks)), ones, ones, ones == 0), image.shape)[0]


def embedded(image: Image, model: Model) -> tuple[View, ImageEmbedding]:
    """Return how the model looks at a whole image, and its embedding."""
    view, whole = View.of(image, model), tuple(slice(0, n) for n in image.shape)
    return view, encode(view, Tile(whole, whole), model)


def accuracy(model: Model, split: str) -> None:
    """Print the table of a split."""
    results = [scored(sample, model) for sample in samples(split)]
    print(f"dsb2018 {split}, {len(results)} images, 95 % bootstrap intervals over images (2000 draws)")
    for group, prefixes in GROUPS.items():
        chosen = [r for r in results if r.category.startswith(prefixes)]
        print(f"\n{group} ({len(chosen)} images)")
        for name, score in FIGURES.items():
            low, high = interval(chosen, score, np.random.default_rng(0))
            print(f"  {name:<46} {score(chosen):7.3f}  [{low:.3f}, {high:.3f}]")


def gain(results: Sequence[Scored]) -> float:
    """Return the mSA of decoded masks less that of the generator's own, paired by image."""
    return float(np.mean([r.decoded.precision.mean() - r.coarse.precision.mean() for r in results]))


FIGURES: dict[str, Callable[[Sequence[Scored]], float]] = {
    "AP at IoU .5, pooled": lambda rs: float(pooled([r.decoded for r in rs]).precision[0]),
    "AP at IoU .75, pooled": lambda rs: float(pooled([r.decoded for r in rs]).precision[5]),
    "AP at IoU .9, pooled": lambda rs: float(pooled([r.decoded for r in rs]).precision[8]),
    "AP at IoU .5, mean over images": lambda rs: float(np.mean([r.decoded.precision[0] for r in rs])),
    "mSA": lambda rs: mean_segmentation_accuracy([r.decoded for r in rs]),
    "pixel Dice, mean over images": lambda rs: float(np.nanmean([r.dice for r in rs])),
    "generator's own masks: AP at .5, pooled": lambda rs: float(pooled([r.coarse for r in rs]).precision[0]),
    "generator's own masks: mSA": lambda rs: mean_segmentation_accuracy([r.coarse for r in rs]),
    "mSA gained by decoding, paired": gain,
}


def cost(model_name: str) -> None:
    """Print seconds, memory and megabytes."""
    model = load(model_name)
    image, n_objects = hundred_nuclei()
    print(f"image: 512 x 512, {n_objects} nuclei in the truth; {len(os.sched_getaffinity(0))} cores; medians of 7")
    warm(model, image)
    fresh(model_name, image)
    per_object(model)
    whole_against_windows(model_name, image)
    print(f"core install: {install_size():.0f} MB")


def hundred_nuclei() -> tuple[Image, int]:
    """Return the 512 x 512 corner of the dev image whose number of nuclei is nearest to 100."""
    large = [s for s in samples("dev") if min(s.labels.shape) >= 512]
    counts = [len(np.unique(s.labels[:512, :512])) - 1 for s in large]
    best = int(np.argmin([abs(n - 100) for n in counts]))
    return Image(large[best].pixels[:, :512, :512]), counts[best]


def timed(action: Callable[[], object], runs: int = 7) -> float:
    """Return the median seconds of `action`, after one run that does not count."""
    action()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def warm(model: Model, image: Image) -> None:
    """Print the time of `segment` in a process that is running, and of its steps."""
    result = segment(image, model)
    print(f"segment, warm: {timed(lambda: segment(image, model)):.3f} s for {result.n_objects} objects")
    print(f"  steps: {segment(image, model).manifest['seconds']}")
    with tempfile.TemporaryDirectory() as folder:
        print(f"  and saving all outputs: {timed(lambda: replace(result).save(folder), 3):.3f} s")


def fresh(model_name: str, image: Image) -> None:
    """Print the time and the peak memory of the command on one image, everything included."""
    folder = Path(tempfile.mkdtemp())
    PillowImage.fromarray(image.data[0]).save(folder / "image.png")
    command = [sys.executable, "-m", "promptless.cli", "segment", str(folder / "image.png"), "-m", model_name]
    command += ["-o", str(folder / "out"), "--overwrite", "-q"]
    seconds = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"fresh process, all outputs: {seconds:.2f} s, peak memory {peak:.0f} MB")
    shutil.rmtree(folder)


def per_object(model: Model) -> None:
    """Print the time per object with 100 and with 1,000 objects."""
    disc = np.hypot(*(np.indices((1024, 1024)) % 32 - 16)) < 9
    _, (features, maps) = embedded(Image(disc[None].astype(np.uint8) * 200), model)
    prompts = propose.propose(maps, model.config.proposals)
    rounds = -(-1000 // max(1, len(prompts)))
    items = (prompts.items * rounds)[:1000]
    if len(items) < 1000:
        print("per object: the generator saw nothing in the drawn discs")
        return
    each = {
        n: timed(lambda n=n: decode(model, features, Prompts(prompts.shape, items[:n])), 5) / n for n in (100, 1000)
    }
    print(f"decoding per object: {each[100] * 1e3:.2f} ms of 100, {each[1000] * 1e3:.2f} ms of 1,000: ", end="")
    print(f"ratio {each[1000] / each[100]:.2f}")


def whole_against_windows(model_name: str, image: Image, n: int = 20) -> None:
    """Print how much longer a prompt takes on the whole embedding than on its window, both under torch.

    The cost of a prompt does not depend on how many others there are, so `n` stand for 500.
    """
    import torch

    from promptless.networks.promptable import PromptableSize
    from promptless.networks.sam import PromptDecoder

    model = load(model_name, runtime="torch")
    features = embedded(image, model)[1].features
    size = PromptableSize.from_dict(model.config.network)
    window, tokens = model.config.window, model.config.window.points + 2
    seconds = {}
    for name, cells in (("whole", features.shape[-1]), ("window", window.cells)):
        decoder = PromptDecoder(size.sam, window.stride, cells)
        decoder.load_state_dict(model.network.decoder.state_dict())
        part = torch.from_numpy(features[None, :, :cells, :cells]).expand(n, -1, -1, -1)
        pixels = cells * window.stride
        inputs = torch.rand(n, tokens, 2) * pixels, torch.ones(n, tokens, dtype=torch.int64)
        masks = torch.zeros(n, 1, pixels, pixels), torch.zeros(n, dtype=torch.bool)
        with torch.inference_mode():
            seconds[name] = timed(lambda d=decoder, p=part, i=inputs, m=masks: d.outputs(p, *i, *m, multimask=False), 3)
    ratio = seconds["whole"] / seconds["window"]
    print(f"whole embedding against windows, 500 prompts: {ratio:.1f} x (torch, {n} prompts each)")


def evaluation() -> None:
    """Print the time of scoring a pair of 1,000 x 1,000, and the cost of a pair of 10,240 x 10,240 in files."""
    pair = drawn_labels(1_000, 600, 1), drawn_labels(1_000, 600, 2)
    for name, rules in (("default rules", DEFAULT_OBJECT_RULES), ("all rules for objects", OBJECT_RULES)):
        seconds = timed(lambda r=rules: [rule.count(c) for c in [Comparison(*pair)] for rule in find(r)])
        print(f"1,000 x 1,000 pixels, 600 objects, {name}: {seconds:.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{side}.tif" for side in ("truth", "predicted")]
        for seed, file in enumerate(files):
            options = {"shape": (10_240, 10_240), "dtype": np.uint32, "tile": (128, 1024), "compression": "zlib"}
            tifffile.imwrite(file, tiles_of_labels(seed), **options)
        command = [sys.executable, "-m", "promptless.cli", "evaluate", *map(str, files), "-q", "--rules", "objects"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"10,240 x 10,240 pixels, 60,000 objects, compressed TIFF, all rules: {seconds:.1f} s, peak {peak:.0f} MB")


def tiles_of_labels(seed: int) -> Iterator[np.ndarray]:
    """Yield tiles (128, 1024) of a label image (10,240, 10,240) of 60,000 discs.

    Never the whole of it: the peak memory of a child begins with that of the process that starts it.
    """
    cell = drawn_labels(1024, 600, seed)
    for i, top, j in product(range(10), range(0, 1024, 128), range(10)):
        tile = cell[top : top + 128]
        yield np.where(tile, tile + np.uint32(600 * (10 * i + j)), 0).astype(np.uint32)


def drawn_labels(side: int, n: int, seed: int) -> np.ndarray:
    """Return a label image of `n` discs on a jittered grid, uint32."""
    rng = np.random.default_rng(seed)
    grid = int(np.ceil(np.sqrt(n)))
    step = side / grid
    radius = 0.45 * step
    labels = np.zeros((side, side), np.uint32)
    for i in range(n):
        middle = (np.array(divmod(i, grid)) + 0.5) * step + rng.normal(0, 0.05 * step, 2)
        region = tuple(slice(max(0, int(m - radius)), int(m + radius) + 2) for m in middle)
        y, x = (np.arange(s.start, min(s.stop, side)) - m for s, m in zip(region, middle, strict=True))
        labels[region][y[:, None] ** 2 + x[None] ** 2 < radius**2] = i + 1
    return labels


def install_size() -> float:
    """Return the megabytes of promptless and all that its core requires, without pip."""
    todo, seen = ["promptless"], set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            needs = [r for r in metadata.requires(name) or [] if "extra ==" not in r]
            todo += [canonical(re.split(r"[^\w.-]", need)[0]) for need in needs if installed(need)]
    files = {Path(str(f.locate())) for name in seen for f in metadata.files(name) or []}
    own = Path(sys.modules["promptless"].__file__ or "").parent
    files |= {path for path in own.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def canonical(name: str) -> str:
    """Return a package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(requirement: str) -> bool:
    """Return whether a requirement's package is here; one for other platforms is not."""
    try:
        metadata.version(canonical(re.split(r"[^\w.-]", requirement)[0]))
    except metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "cost", "evaluation"))
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    arguments = parser.parse_args()
    if arguments.what == "accuracy":
        accuracy(load(arguments.model), arguments.split)
    elif arguments.what == "cost":
        cost(arguments.model)
    else:
        evaluation()


if __name__ == "__main__":
    main()
