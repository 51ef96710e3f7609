"""Figures of a planar model on 2018 Data Science Bowl images, and what it costs.

    python benchmarks/planar.py accuracy --split test     accuracy, with 95 % bootstrap intervals over images
    python benchmarks/planar.py cost                      seconds, memory, megabytes
    python benchmarks/planar.py editing                   seconds that a user waits for an edited prompt
    python benchmarks/planar.py folder                    images per second, and the share of each step
    python benchmarks/planar.py evaluation                seconds and memory of `promptless evaluate`

`--model NAME_OR_FOLDER` is whose figures they are. Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from accuracy import accuracy
from cost import cost
from editing import editing
from folder import folder_of_images
from scoring import evaluation

FIGURES: dict[str, Callable[[argparse.Namespace], None]] = {
    "accuracy": lambda asked: accuracy(asked.model, asked.split),
    "cost": lambda asked: cost(asked.model),
    "editing": lambda asked: editing(asked.model),
    "folder": lambda asked: folder_of_images(asked.model),
    "evaluation": lambda asked: evaluation(),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FIGURES)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    asked = parser.parse_args()
    FIGURES[asked.what](asked)


if __name__ == "__main__":
    main()
