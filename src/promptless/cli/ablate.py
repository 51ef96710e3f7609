"""`promptless ablate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptless.cli.edge import Quiet, Verbose, bar, chatter, fail, one_of, reporting, writable

SPLITS = ("dev", "test")


def ablate(
    recipe: Annotated[Path, typer.Argument(help=r"Recipe file with an \[ablate] table.", metavar="RECIPE.toml")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the arms, the table and the plot.")],
    split: Annotated[
        str, typer.Option(help="Images to compare on: dev while choosing, test once.", metavar="dev|test")
    ] = "dev",
    only: Annotated[str | None, typer.Option(help="Do these arms only.", metavar="ARM,...")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Train with these of the recipe's seeds only.", metavar="N,...")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train the arms of a recipe, and compare them in a table and a plot; what is finished is not done again."""
    chatter(quiet, verbose)
    one_of(split, SPLITS, "--split")
    with reporting(verbose, "interrupted; the same command goes on"):
        try:
            from promptless.train import ablation, arms_table
        except ImportError as error:
            fail(f"ablations need {error.name}: pip install 'promptless[sam]'")
        writable(output)
        plan = ablation.read(recipe)
        if seeds is not None:
            plan = plan.with_seeds(numbers(seeds))
        if only is not None:
            named = tuple(name.strip() for name in only.split(","))
            plan = plan.of(named)
            if plan.reference not in named and not quiet:
                typer.echo(f"{plan.reference} is trained as well: the reference", err=True)
        with bar(1, shown=not quiet and sys.stderr.isatty()) as advance:
            rows = ablation.run(plan, output, split, progress=advance)
        written = arms_table.write(rows, plan.reference, output, split, plan.x_label)
    typer.echo(arms_table.plain(rows, plan.reference))
    typer.echo("\n".join(map(str, written)))


def numbers(text: str) -> tuple[int, ...]:
    """Return the whole numbers between commas."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers", param_hint="--seeds") from None
