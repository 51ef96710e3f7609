"""Figures of Segment Any Cell (arXiv 2401.13220) as promptless has it.

    python benchmarks/sac.py accuracy --split test   the arms of recipes/sac_monuseg.toml: SAC, ours, full fine-tuning
    python benchmarks/sac.py cost                    what an adapter on a published backbone costs: time, memory, size

`accuracy` trains what is not trained yet (ninety minutes on two cores) in --folder; it goes on where it was stopped.
Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from promptless.train import ablation, arms_table
from sac_cost import cost

RECIPE = Path(__file__).parents[1] / "recipes" / "sac_monuseg.toml"


def accuracy(folder: Path, split: str) -> None:
    """Print the table of all arms on the images of a split, and write it with every figure and a plot."""
    plan = ablation.read(RECIPE)
    rows = ablation.run(plan, folder, split, progress=lambda done, name: print(f"{done:4.0%} {name}", flush=True))
    written = arms_table.write(rows, plan.reference, folder, split)
    print(arms_table.markdown(rows, plan.reference), *written, sep="\n")


FIGURES: dict[str, Callable[[argparse.Namespace], None]] = {
    "accuracy": lambda asked: accuracy(asked.folder, asked.split),
    "cost": lambda asked: cost(asked.backbone, asked.threads),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FIGURES)
    parser.add_argument("--backbone", default="sam_vit_b", choices=("sam_vit_b", "sam_vit_l", "sam_vit_h"))
    parser.add_argument("--folder", type=Path, default=Path("runs/sac_monuseg"))
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    FIGURES[asked.what](asked)


if __name__ == "__main__":
    main()
