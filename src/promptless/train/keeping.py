"""Where what was trained comes to lie: in its place, unless a better one is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from promptless.config import ModelConfig
from promptless.registry import CONFIG
from promptless.train import report

RUN, CANDIDATE, REFUSED = "run", "candidate", "refused"
"""Within a folder that is trained into: its latest training; within that, what is being measured, and what was worse
than what was there."""


def finished(run: Path) -> bool:
    """Say whether the training in a folder was completed: measured, and what it made moved to its place."""
    return (run / report.FOLDER / report.REPORT).is_file() and not (run / CANDIDATE).exists()


def cleared(run: Path, *names: str) -> None:
    """Delete what a finished training has left, and the folders `names` of its phases."""
    for name in (*names, CANDIDATE, REFUSED, report.FOLDER):
        shutil.rmtree(run / name, ignore_errors=True)


def put(folder: Path, refusal: str | None) -> tuple[Path, str | None]:
    """Move the candidate into `folder`, or aside where there is a refusal; return where it lies, and what to say."""
    run = folder / RUN
    shutil.rmtree(run / REFUSED, ignore_errors=True)
    if refusal is None:
        install(run / CANDIDATE, folder)
        return folder, None
    (run / CANDIDATE).rename(run / REFUSED)
    return run / REFUSED, f"{refusal}; the new one is kept in {run / REFUSED}, --resume --force takes it"


def install(candidate: Path, folder: Path) -> None:
    """Move files into `folder`, the configuration last; until that is there, there is no adapter or model."""
    names = {CONFIG, *ModelConfig.read(candidate / CONFIG).files, *(path.name for path in candidate.iterdir())}
    old = set(ModelConfig.read(folder / CONFIG).files) if (folder / CONFIG).is_file() else set[str]()
    (folder / CONFIG).unlink(missing_ok=True)
    for name in old - names:
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == CONFIG):
        (candidate / name).replace(folder / name)
    candidate.rmdir()
