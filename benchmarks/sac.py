"""Figures of Segment Any Cell (arXiv 2401.13220) as promptless has it.

    python benchmarks/sac.py cost        what an adapter on a published backbone costs: time, memory, size

Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from sac_cost import cost

FIGURES: dict[str, Callable[[argparse.Namespace], None]] = {
    "cost": lambda asked: cost(asked.backbone, asked.threads),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FIGURES)
    parser.add_argument("--backbone", default="sam_vit_b", choices=("sam_vit_b", "sam_vit_l", "sam_vit_h"))
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    FIGURES[asked.what](asked)


if __name__ == "__main__":
    main()
