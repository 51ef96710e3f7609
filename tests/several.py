"""Training by several processes: run by `test_train_processes.py`, alone and under a launcher.

`python several.py FOLDER` trains in FOLDER/whole, goes on in FOLDER/half where a checkpoint lies there, and meets
an image that is spoilt; what comes of it is written to FOLDER/rank*.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from promptless.train import processes
from promptless.train.failures import NotFiniteError
from promptless.train.loop import Schedule, fit

SCHEDULE = Schedule(steps=8, batch=4, rate=0.05, warmup=2, accumulate=1, checkpoint_every=4)


class Points(Dataset):
    """Item `i` depends on `i` alone; `spoilt` is no number."""

    def __init__(self, spoilt=None):
        self.spoilt = spoilt

    def __getitem__(self, index):
        x = torch.randn(3, generator=torch.Generator().manual_seed(index))
        y = (x.sum() > 0).float()
        return {"x": x * float("nan") if index == self.spoilt else x, "y": y, "index": torch.tensor(index)}

    def names(self, indices):
        return [f"image{index}" for index in indices]


class Uneven:
    """A mean over the batch, of which only the items whose number is a multiple of 4 see one of the layers.

    Of two processes the second therefore never has gradients for it, and `idle` has none in either.
    """

    def __init__(self):
        torch.manual_seed(0 if processes.main() else 1)  # the main process's weights count
        self.module = nn.ModuleDict({"all": nn.Linear(3, 1), "some": nn.Linear(3, 1), "idle": nn.Linear(3, 1)})

    def __call__(self, batch):
        out = self.module["all"](batch["x"])[:, 0]
        own = batch["index"] % 4 == 0
        if own.any():
            out = out + torch.where(own, self.module["some"](batch["x"])[:, 0], 0)
        loss = nn.functional.binary_cross_entropy_with_logits(out, batch["y"])
        return {"loss": loss, "half": loss / 2}


def train(folder):
    """Return what three runs come to."""
    whole = fit(Uneven(), Points(), SCHEDULE, folder / "whole", device="cpu")
    half = fit(Uneven(), Points(), SCHEDULE, folder / "half", resume=True, device="cpu")
    try:
        fit(Uneven(), Points(spoilt=23), SCHEDULE, folder / "spoilt", device="cpu")
    except NotFiniteError as error:
        return {"whole": whole, "half": half, "told": str(error).replace(str(folder), "FOLDER")}
    raise AssertionError("what is no number was not noticed")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    results = {**train(place), "accelerate": "accelerate" in sys.modules, "main": processes.main()}
    torch.save(results, place / f"rank{'0' if processes.main() else '1'}.pt")
