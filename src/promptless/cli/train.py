"""`promptless train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptless.cli.edge import Quiet, Verbose, bar, chatter, fail, reporting, writable

if TYPE_CHECKING:
    from promptless.train.adapters import Outcome


def train(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the adapter or model, and the training.")],
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe file; the one for adapters that ships.", metavar="[RECIPE.toml]")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Images with label masks, or a prepared folder; in place of the recipe's.", metavar="FOLDER"),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Backbone to adapt, in place of the recipe's.", metavar="NAME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an adapter even where the new one is worse.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train an adapter on your images, or what a recipe says; a training that was stopped goes on with --resume."""
    if recipe is None and data is None:
        raise typer.BadParameter("name a recipe, or a folder of images and label masks with --data")
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; --resume goes on from the last checkpoint"):
        try:
            from promptless.train import adapters, devices, processes, recipes
        except ImportError as error:
            fail(f"training needs {error.name}: pip install 'promptless[sam]'")
        writable(output)
        where, main = devices.find(device), processes.main()
        if main and device == "auto" and not quiet:
            typer.echo(f"training on {where}; --device takes another", err=True)
        with bar(1, shown=main and not quiet and sys.stderr.isatty()) as advance:
            chosen = adapters.recipe_for(recipe, output, data=data, backbone=backbone, resume=resume, progress=advance)
            how: dict[str, Any] = {"resume": resume, "device": device, "progress": advance}
            if chosen.adapter is None:
                made: Path | Outcome | None = recipes.train(chosen, output, **how)
            else:
                made = adapters.train(chosen, output, force=force, **how)
        if isinstance(made, adapters.Outcome):
            tell(made, quiet)
            made = made.folder
    if main:
        typer.echo(f"{made}")


def tell(outcome: Outcome, quiet: bool) -> None:
    """Print the table, and on stderr what else is to be said."""
    from promptless.train.report import HEADER

    if not quiet:
        rows = [HEADER, *outcome.report.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in (*outcome.notes, *([outcome.refusal] if outcome.refusal else [])):
        typer.echo(line, err=True)
