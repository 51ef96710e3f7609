"""What every command does alike: exit codes, messages, the progress bar."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from promptless.config import VOXELS
from promptless.errors import reason

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from promptless.config import ModelConfig

PACE = 120.0
"""Seconds by which a progress bar judges how fast it goes; a step of a large backbone may take many."""


class Exit(IntEnum):
    """Exit codes; 2, for wrong usage, is typer's own."""

    OK = 0
    ERROR = 1
    PARTIAL = 3
    INTERRUPTED = 130


def channel_of(text: str) -> int | str:
    """Return the channel that is meant by `text`: a number, counted from 0, or a name."""
    if text.removeprefix("-").isdecimal() and int(text) < 0:
        raise typer.BadParameter(f"{text} is no channel; they are counted from 0")
    return int(text) if text.isdecimal() else text


Channel = Annotated[
    Any, typer.Option(parser=channel_of, metavar="NAME|N", help="Use this channel only; numbers count from 0.")
]
ModelName = Annotated[
    str, typer.Option("-m", "--model", help="Name of a model that ships, a model folder, or an adapter.")
]
Page = Annotated[int | None, typer.Option(min=0, help="Use this plane of a file of several, counted from 0.")]
Device = Annotated[
    str, typer.Option(help="Where torch computes: auto (a GPU where there is one), cpu, cuda, cuda:N or mps.")
]


def pixel_size(value: float | None) -> float | None:
    """Return a pixel size; what is none is wrong usage."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is not a pixel size; give micrometres above 0")
    return value


Mpp = Annotated[float | None, typer.Option(callback=pixel_size, help="Size of a pixel in micrometres.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar, no summary.")]
TileSide = Annotated[
    int | None, typer.Option(min=64, help="Pixels per side that the model sees at once; 1024, or what it takes.")
]
Halo = Annotated[int | None, typer.Option(min=0, help="Pixels of context around a tile, on each side; 128, or fewer.")]
Frame = Annotated[int | None, typer.Option(min=0, help="Use this frame of a scan of four axes, counted from 0.")]
SeriesName = Annotated[
    str | None, typer.Option("--series", metavar="NAME|UID", help="Use this of several DICOM series.")
]
Flips = Annotated[
    bool | None, typer.Option("--flips/--no-flips", help="Average mirrored views of a scan, eight times the work.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more, and show tracebacks.")]


def threads_from_environment() -> int | None:
    """Return what PROMPTLESS_NUM_THREADS says, None where it is not set."""
    value = os.environ.get("PROMPTLESS_NUM_THREADS", "0")
    if not value.isdigit():
        raise ValueError(f"PROMPTLESS_NUM_THREADS is {value!r}; it must be a whole number")
    return int(value) or None


def writable(folder: Path) -> None:
    """Fail now, not after the work, where nothing can be written into `folder`."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"nothing can be written into {folder}; choose another folder with -o")


def listed(values: Collection[str], known: Collection[str], option: str) -> tuple[str, ...]:
    """Return the words of an option that may be repeated, and hold several words between commas."""
    words = [word.strip() for value in values for word in value.split(",")]
    return tuple(dict.fromkeys(one_of(word, known, option) for word in words))


def one_of(word: str, known: Collection[str], option: str) -> str:
    """Return a word that is known; one that is not is wrong usage."""
    if word not in known:
        raise typer.BadParameter(f"{word!r} is none of {', '.join(known)}", param_hint=option)
    return word


def only(config: ModelConfig, planar: dict[str, Any], of_scans: dict[str, Any]) -> None:
    """Refuse an option that is given and does not go with a model, as wrong usage."""
    volumetric = config.output == VOXELS
    for name, value in (planar if volumetric else of_scans).items():
        if value is not None and value is not False:
            kind, other = ("planes", "scans") if volumetric else ("scans", "planes")
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"it is for models of {kind}, and {config.name} is for {other}", param_hint=option)


def chatter(quiet: bool, verbose: bool) -> None:
    """Say how much of the library's own log goes to stderr."""
    if quiet and verbose:
        raise typer.BadParameter("-q and -v exclude each other")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("promptless")
    ours.handlers = [handler]
    ours.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong, our one line says


@contextmanager
def reporting(verbose: bool, interrupted: str) -> Iterator[None]:
    """Turn what goes wrong into one line and an exit code; with -v the traceback comes along."""
    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except BrokenPipeError:  # who read the results has gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.ERROR) from None
    except KeyboardInterrupt:
        typer.echo(interrupted, err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    except Exception as error:  # the edge: a user gets one line
        if verbose:
            raise
        fail(reason(error))


def fail(message: str) -> NoReturn:
    """Print one line on stderr and leave."""
    typer.echo(f"promptless: {message}", err=True)
    raise typer.Exit(Exit.ERROR)


@contextmanager
def bar(total: float, shown: bool) -> Iterator[Callable[[float, str], None]]:
    """Show one progress bar with the time that is left on stderr; yield what moves it.

    Where it goes back, something else has begun: the time that is left is then told from there on.
    """
    if not shown:
        yield lambda done, name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    ]
    if total > 1:
        columns.insert(2, MofNCompleteColumn())
    console = Console(stderr=True)
    # Results go to stdout: only where that is the same terminal may the bar take care of them.
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        speed_estimate_period=PACE,
    ) as progress:
        yield partial(moved, progress, progress.add_task("", total=total))


class Lines:
    """Progress for a log, where there is no terminal: a line as each stage begins, and at each tenth of it."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write, self.before = write, ("", -1)

    def __call__(self, done: float, name: str) -> None:
        """Write a line where it is due; the first word of `name` says which stage it is."""
        now = (name.partition(" ")[0].rstrip(","), int(done * 10 + 1e-9))
        if now != self.before:
            self.write(f"{done:4.0%} {name}")
        self.before = now


def moved(progress: Progress, task: TaskID, done: float, name: str) -> None:
    """Move a bar to `done`; rich takes one that was full for finished, so one that goes back begins anew."""
    if done < progress.tasks[progress.task_ids.index(task)].completed:
        progress.reset(task, completed=int(done))
    progress.update(task, completed=done, description=name)


def names_in(text: str) -> list[str]:
    """Return the names of classes between commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} has a name twice, or an empty one", param_hint="--classes")
    return names
