"""`promptless train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptless.cli.edge import Quiet, Verbose, bar, chatter, fail, reporting, writable


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (TOML).", metavar="RECIPE.toml")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints, logs and the model.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    ] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model from a recipe; a run that was stopped goes on with --resume and draws the same curve."""
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; --resume goes on from the last checkpoint"):
        try:
            from promptless.train import devices, processes, recipes
        except ImportError as error:
            fail(f"training needs {error.name}: pip install 'promptless[sam]'")
        writable(output)
        where, main = devices.find(device), processes.main()
        if main and device == "auto" and not quiet:
            typer.echo(f"training on {where}; --device takes another", err=True)
        with bar(1, shown=main and not quiet and sys.stderr.isatty()) as advance:
            model = recipes.train(recipes.read(recipe), output, resume=resume, device=device, progress=advance)
    if main:
        typer.echo(f"{model}")
