"""What a run leaves in its folder: checkpoints, and a row per step."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from promptless.train.processes import Processes
from promptless.train.schedule import Schedule
from promptless.train.state import State

log = logging.getLogger(__name__)

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
SECONDS = "seconds"
"""The column of the log that says how much of its minutes a run has used."""


def reached(folder: Path) -> tuple[int, float]:
    """Return how many steps the checkpoint in a folder has, and the seconds they took; 0 where there is none."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0, 0.0
    parts = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    return int(parts["step"]), float(parts["seconds"])


class Run:
    """A run that writes as it goes; of several processes only the main one touches the folder."""

    def __init__(self, folder: Path, state: State, schedule: Schedule, world: Processes) -> None:
        self.folder, self.state, self.schedule, self.world = folder, state, schedule, world
        self.first, self.before = state.step, state.seconds
        self.began = time.monotonic()  # later by what was done aside
        if world.main:
            folder.mkdir(parents=True, exist_ok=True)
            self.rows = RunLog(folder / LOG, keep=state.step)

    def record(self, losses: Mapping[str, float], identity: Mapping[str, Any]) -> None:
        """Write what the step that was just made has to tell, and a checkpoint where one is due."""
        state, schedule = self.state, self.schedule
        rate = schedule.rate_at(state.step - 1, state.seconds)
        state.seconds = self.seconds()
        if self.world.main:
            clock = {} if schedule.minutes is None else {SECONDS: state.seconds}
            self.rows.write({"step": state.step, "rate": rate, **clock, **losses})
        if state.step % schedule.checkpoint_every == 0 or self.share == 1:
            self.keep(identity)
            if self.world.main:
                told = schedule.told(state.step, state.seconds)
                log.info("step %s, %s: %s", told, self.pace(), dict(losses))

    @property
    def share(self) -> float:
        """Which share of the training is done; 1 ends it."""
        return self.schedule.share(self.state.step, self.state.seconds)

    def seconds(self) -> float:
        """Return the seconds of training, those before an interruption included; all processes go by the first."""
        reading = torch.tensor([self.before + time.monotonic() - self.began], device=self.state.device)
        self.world.agree([reading])
        return float(reading)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let what is done meanwhile not count as training."""
        began = time.monotonic()
        yield
        self.began += time.monotonic() - began

    def keep(self, identity: Mapping[str, Any]) -> None:
        """Write a checkpoint of the step that was just made, unless there is one."""
        state = self.state
        if state.saved == state.step:
            return
        if self.world.main:
            state.save(self.folder / CHECKPOINT, identity)
        state.saved = state.step

    def pace(self) -> str:
        """Return the seconds since this run went on, and the images per second."""
        seconds = time.monotonic() - self.began
        images = (self.state.step - self.first) * self.schedule.batch
        return f"{seconds:.0f} s, {images / max(seconds, 1e-9):.1f} images/s"


class RunLog:
    """A CSV with a row per step; on resuming, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        lines = path.read_text().splitlines()[: keep + 1] if keep and path.is_file() else []
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(line + "\n" for line in lines))
        temporary.replace(path)
        self.empty = not lines

    def write(self, row: dict[str, float]) -> None:
        """Append a row, with the header before the first."""
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if self.empty:
                writer.writeheader()
                self.empty = False
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
