"""What a run leaves in its folder: checkpoints, and a row per step."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptless.train.processes import Processes
from promptless.train.schedule import Schedule
from promptless.train.state import State

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"


class Run:
    """A run that writes as it goes; of several processes only the main one touches the folder."""

    def __init__(self, folder: Path, state: State, schedule: Schedule, world: Processes) -> None:
        self.folder, self.state, self.schedule, self.world = folder, state, schedule, world
        self.first, self.began, self.before = state.step, time.monotonic(), state.seconds
        if world.main:
            folder.mkdir(parents=True, exist_ok=True)
            self.rows = RunLog(folder / "log.csv", keep=state.step)

    def record(self, losses: Mapping[str, float], identity: Mapping[str, Any]) -> None:
        """Write what the step that was just made has to tell, and a checkpoint where one is due."""
        state, schedule = self.state, self.schedule
        if self.world.main:
            self.rows.write({"step": state.step, "rate": schedule.rate_at(state.step - 1), **losses})
        if state.step % schedule.checkpoint_every == 0 or state.step == schedule.steps:
            self.keep(identity)
            if self.world.main:
                log.info("step %d of %d, %s: %s", state.step, schedule.steps, self.pace(), dict(losses))

    def keep(self, identity: Mapping[str, Any]) -> None:
        """Write a checkpoint of the step that was just made, unless there is one."""
        state = self.state
        if state.saved == state.step:
            return
        state.seconds = self.before + time.monotonic() - self.began
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
