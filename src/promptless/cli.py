"""The command line. Only here is anything printed; nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from promptless.errors import reason

if TYPE_CHECKING:
    from promptless.batch import Outcome

app = typer.Typer(
    help="Segment biomedical images with the Segment Anything Model; nobody has to prompt it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Exit(IntEnum):
    """Exit codes; 2, for wrong usage, is typer's own."""

    OK = 0
    ERROR = 1
    PARTIAL = 3
    INTERRUPTED = 130


Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar, no summary.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more, and show tracebacks.")]


def version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        from promptless import __version__

        typer.echo(f"promptless {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Segment biomedical images with the Segment Anything Model; nobody has to prompt it."""


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE_OR_FOLDER")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the outputs; made where it is missing.")],
    model: Annotated[
        str, typer.Option("-m", "--model", help="Name of a model that ships, or a model folder.")
    ] = "nuclei",
    channel: Annotated[int | None, typer.Option(min=0, help="Use this channel only, counted from 0.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Size of a pixel in micrometres.")] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out objects scored below this.")] = None,
    tile: Annotated[int, typer.Option(min=64, help="Pixels per side that are segmented at once.")] = 1024,
    halo: Annotated[int, typer.Option(min=0, help="Pixels of context around a tile, on each side.")] = 128,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do images again whose outputs are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON lines.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find and outline every nucleus; write labels, table, prompts, GeoJSON, overlay and manifest for each image."""
    chatter(quiet, verbose)
    if mpp is not None and not 0 < mpp < math.inf:
        raise typer.BadParameter(f"{mpp} is not a pixel size; give micrometres above 0", param_hint="--mpp")
    if min_score is not None and math.isnan(min_score):
        raise typer.BadParameter("it must be a number from 0 to 1", param_hint="--min-score")
    with reporting(verbose, "interrupted; what was finished is kept, and skipped next time"):
        threads = threads or threads_from_environment()
        from promptless import batch
        from promptless.registry import load

        todo = batch.jobs(images)
        if not todo:
            fail(f"there is no image in {', '.join(map(str, images))}; PNG, JPEG, BMP, WebP and TIFF files are read")
        loaded = load(model, threads=threads)
        writable(output)
        options = {"channel": channel, "mpp": mpp, "min_score": min_score, "tile": tile, "halo": halo}
        outcomes = []
        with bar(len(todo), shown=not quiet and sys.stderr.isatty()) as advance:
            for outcome in batch.segment_all(todo, loaded, output, overwrite=overwrite, progress=advance, **options):
                outcomes.append(outcome)
                typer.echo(
                    as_line(outcome) if as_json else as_text(outcome), err=outcome.state == "failed" and not as_json
                )
    finish(outcomes, quiet)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (TOML).", metavar="RECIPE.toml")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints, logs and the model.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model from a recipe; a run that was stopped goes on with --resume and draws the same curve."""
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; --resume goes on from the last checkpoint"):
        try:
            from promptless.train import recipes
        except ImportError as error:
            fail(f"training needs {error.name}: pip install 'promptless[sam]'")
        writable(output)
        with bar(1, shown=not quiet and sys.stderr.isatty()) as advance:
            model = recipes.train(recipes.read(recipe), output, resume=resume, progress=advance)
    typer.echo(f"{model}")


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


def as_text(outcome: Outcome) -> str:
    """Return an outcome as a line for a person."""
    source = outcome.job.source
    if outcome.state == "failed":
        return f"{source.name}: failed: {outcome.message}"
    paths = outcome.paths or {}
    if outcome.state == "skipped":
        return f"{source.name}: skipped, {paths['manifest']} is there (--overwrite does it again)"
    return f"{source.name}: {outcome.n_objects} objects, {paths['overlay']}"


def as_line(outcome: Outcome) -> str:
    """Return an outcome as a line of JSON."""
    entry: dict[str, Any] = {"source": str(outcome.job.source), "name": outcome.job.name, "state": outcome.state}
    if outcome.state == "done":
        entry["n_objects"] = outcome.n_objects
    if outcome.state == "failed":
        entry["message"] = outcome.message
    else:
        entry["outputs"] = {kind: str(path) for kind, path in (outcome.paths or {}).items()}
    return json.dumps(entry)


def finish(outcomes: list[Outcome], quiet: bool) -> NoReturn:
    """Sum up a batch on stderr and leave with the code that says how it went."""
    states = [outcome.state for outcome in outcomes]
    done, skipped, failed = (states.count(state) for state in ("done", "skipped", "failed"))
    if len(outcomes) > 1 and not quiet:
        typer.echo(f"{done} segmented, {skipped} skipped, {failed} failed", err=True)
    if not failed:
        raise typer.Exit(Exit.OK)
    raise typer.Exit(Exit.ERROR if failed == len(outcomes) else Exit.PARTIAL)


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
    except typer.Exit:
        raise
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
    """Show one progress bar with the time that is left on stderr; yield what moves it."""
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
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=total)
        yield lambda done, name: progress.update(task, completed=done, description=name)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None


if __name__ == "__main__":
    main()
