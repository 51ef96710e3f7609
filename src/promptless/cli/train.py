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
    data: Annotated[
        Path | None, typer.Option(help="Prepared folder to learn from, in place of the recipe's.", metavar="FOLDER")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Backbone to adapt, in place of the recipe's.", metavar="NAME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model from a recipe; a run that was stopped goes on with --resume and draws the same curve."""
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; --resume goes on from the last checkpoint"):
        try:
            from promptless.train import adapters, recipes
        except ImportError as error:
            fail(f"training needs {error.name}: pip install 'promptless[sam]'")
        writable(output)
        chosen = recipes.read(recipe, data=data, backbone=backbone)
        train = recipes.train if chosen.adapter is None else adapters.train
        with bar(1, shown=not quiet and sys.stderr.isatty()) as advance:
            model = train(chosen, output, resume=resume, progress=advance)
    typer.echo(f"{model}")
