"""Choose a planar model's thresholds on dev: prints mSA and pooled AP at .5 for each setting.

python benchmarks/choose.py --model NAME_OR_FOLDER [--foreground .5 .6] [--saddles .75 .6,.75,.9] [--smooth 1 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from images import GROUPS, embedded, samples
from promptless import labels as label_images
from promptless import load
from promptless.config import ProposalConfig
from promptless.image import Image
from promptless.masks import Masks
from promptless.metrics.instances import Matching, match, mean_segmentation_accuracy, pooled
from promptless.model import ImageEmbedding, Model
from promptless.pipeline import answered, in_pixels
from promptless.propose import propose
from promptless.view import View

SCORES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def decoded(view: View, embedding: ImageEmbedding, model: Model, config: ProposalConfig) -> Masks:
    """Return all objects of an image, however they score."""
    prompts = in_pixels(propose(embedding.maps, config), view.image.shape, view.zoom)
    return answered(model, embedding, prompts, view.zoom)


def settings(arguments: argparse.Namespace, start: ProposalConfig) -> Iterator[ProposalConfig]:
    """Yield every combination that was asked for."""
    readings = [tuple(float(v) for v in text.split(",")) for text in arguments.saddles]
    for foreground, saddles, smooth in product(arguments.foreground, readings, arguments.smooth):
        yield replace(start, foreground=foreground, saddles=saddles, smooth=smooth)


def show(title: str, categories: list[str], matchings: list[Matching]) -> None:
    """Print one line of figures."""
    cells = []
    for group, prefixes in GROUPS.items():
        chosen = [m for c, m in zip(categories, matchings, strict=True) if c.startswith(prefixes)]
        cells.append(
            f"{group}: {mean_segmentation_accuracy(chosen):.3f} {pooled(chosen).precision[0]:.3f} "
            f"{np.mean([m.precision[0] for m in chosen]):.3f}"
        )
    print(f"{title:<48} {' | '.join(cells)}", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--foreground", type=float, nargs="+", default=[0.6])
    parser.add_argument("--saddles", nargs="+", default=["0.75"])
    parser.add_argument("--smooth", type=float, nargs="+", default=[1.5])
    arguments = parser.parse_args()
    model = load(arguments.model)
    dev = samples("dev")
    categories = [sample.category for sample in dev]
    embeddings = [embedded(Image(sample.pixels), model) for sample in dev]
    print("mSA, AP at .5 pooled, AP at .5 mean over images")
    for config in settings(arguments, model.config.proposals):
        found = [decoded(*looked, model, config) for looked in embeddings]
        for least in SCORES:
            labels = [
                label_images.paint(masks.take(masks.scores >= least), sample.labels.shape)[0]
                for masks, sample in zip(found, dev, strict=True)
            ]
            title = f"fg {config.foreground} saddles {config.saddles} smooth {config.smooth} score {least}"
            show(title, categories, [match(s.labels, p) for s, p in zip(dev, labels, strict=True)])


if __name__ == "__main__":
    main()
