"""`promptless train`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptless.cli.edge import Lines, Quiet, Verbose, bar, chatter, fail, reporting, writable

if TYPE_CHECKING:
    from promptless.train.adapters import Outcome
    from promptless.train.distill_planar import Recipe as PlanarRecipe
    from promptless.train.volume.recipe import VolumeRecipe


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
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there even where the new one is worse.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    ] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train an adapter on your images, or what a recipe says; a training that was stopped goes on with --resume."""
    if recipe is None and data is None and not resume:
        raise typer.BadParameter("name a recipe, or a folder of images and label masks with --data")
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; the same command with --resume goes on from there"):
        try:
            from promptless.train import adapters, devices, keeping, processes, recipes
        except ImportError as error:
            fail(f"training needs {error.name}: pip install 'promptless[sam]'")
        placeable(output)
        where, main = devices.find(device), processes.main()
        by_kind = None if recipe is None else special(recipe, data=data, backbone=backbone)
        if by_kind is not None:
            by_kind(output, resume=resume, force=force, device=device, quiet=quiet)
            return
        told, terminal = main and not quiet, sys.stderr.isatty()
        with bar(1, shown=told and terminal) as moved:
            advance = Lines(partial(typer.echo, err=True)) if told and not terminal else moved
            chosen = adapters.recipe_for(recipe, output, data=data, backbone=backbone, resume=resume, progress=advance)
            if chosen.adapter is None:
                refuse_force(force)
            if told and device == "auto":
                typer.echo(f"training on {where}; --device takes another", err=True)
            for line in adapters.unsized(chosen) if told and chosen.adapter is not None else []:
                typer.echo(line, err=True)
            place = output if chosen.adapter is None else output / keeping.RUN
            if told and resume and (at := recipes.reached(chosen, place)) is not None:
                typer.echo(f"going on at {at}", err=True)
            if chosen.adapter is None:
                made: Path | Outcome | None = recipes.train(
                    chosen, output, resume=resume, device=device, progress=advance
                )
            else:
                made = adapters.train(chosen, output, resume=resume, force=force, device=device, progress=advance)
        if main and made is not None:
            tell(made, output, quiet)


def refuse_force(force: bool) -> None:
    """Refuse an option that is for what is compared with what is there."""
    if force:
        raise typer.BadParameter("only adapters and models on volumes are compared", param_hint="--force")


def special(recipe: Path, *, data: Path | None, backbone: str | None) -> Callable[..., None] | None:
    """Return what trains by a recipe that is for volumes, or for a planar student; None for all others."""
    from promptless.train import distill_planar
    from promptless.train.volume import recipe as volume_recipe

    if volume_recipe.is_for_volumes(recipe):
        return partial(on_volumes, volume_recipe.read(recipe, data=data, backbone=backbone))
    if not distill_planar.is_distillation(recipe):
        return None
    if backbone is not None:
        raise typer.BadParameter("a student has none; its recipe names its teacher", param_hint="--backbone")
    return partial(of_student, distill_planar.read(recipe, data=data))


def on_volumes(
    recipe: VolumeRecipe, output: Path, *, resume: bool, device: str, quiet: bool, force: bool = False
) -> None:
    """Train a model on volumes, and print its table."""
    from promptless.train import processes
    from promptless.train.volume import training
    from promptless.train.volume.report import HEADER

    told, terminal = processes.main() and not quiet, sys.stderr.isatty()
    with bar(1, shown=told and terminal) as moved:
        advance = Lines(partial(typer.echo, err=True)) if told and not terminal else moved
        if told and resume and (at := training.goes_on_at(recipe, output)) is not None:
            typer.echo(f"going on at {at}", err=True)
        made = training.train(recipe, output, resume=resume, force=force, device=device, progress=advance)
    if made is None:
        return
    if not quiet:
        columns([HEADER, *made.report.rows()])
        typer.echo(made.report.verdict, err=True)
    for line in (*made.notes, *([made.refusal] if made.refusal else [])):
        typer.echo(line, err=True)
    typer.echo(f"{made.folder}")


def of_student(
    recipe: PlanarRecipe, output: Path, *, resume: bool, device: str, quiet: bool, force: bool = False
) -> None:
    """Train a planar student, and say where it lies."""
    refuse_force(force)
    from promptless.train import distill_planar, processes

    told, terminal = processes.main() and not quiet, sys.stderr.isatty()
    with bar(1, shown=told and terminal) as moved:
        advance = Lines(partial(typer.echo, err=True)) if told and not terminal else moved
        made = distill_planar.train(recipe, output, resume=resume, device=device, progress=advance)
    if processes.main():
        typer.echo(f"{made}")


def columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def placeable(folder: Path) -> None:
    """Fail now where `folder` could not be made, or written into; make nothing yet."""
    writable(next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()))


def tell(made: Path | Outcome, output: Path, quiet: bool) -> None:
    """Print the table of an adapter, on stderr what else is to be said, and last where the result lies."""
    if isinstance(made, Path):
        typer.echo(f"{made}")
        return
    from promptless.train.keeping import RUN
    from promptless.train.report import FOLDER, HEADER, WORST

    if not quiet:
        columns([HEADER, *made.report.rows()])
        typer.echo(f"{made.report.verdict}; look at {output / RUN / FOLDER / WORST}", err=True)
    for line in (*made.notes, *([made.refusal] if made.refusal else [])):
        typer.echo(line, err=True)
    typer.echo(f"{made.folder}")
