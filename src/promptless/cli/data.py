"""`promptless data`."""

from __future__ import annotations

import sys
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptless.cli.edge import Quiet, Verbose, bar, chatter, names_in, one_of, pixel_size, reporting, writable

if TYPE_CHECKING:
    from promptless.data.preparation import Preparation

KINDS = "dsb2018|monuseg|pannuke|glas|folder|btcv|amos|ct_org|msd|nnunet|totalsegmentator"
data = typer.Typer(help="Bring labelled images into the form that training reads.", no_args_is_help=True)


@data.callback()
def group() -> None:
    """Bring labelled images into the form that training reads."""


@data.command()
def prepare(
    kind: Annotated[str, typer.Argument(help="What it is.", metavar=KINDS)],
    source: Annotated[Path, typer.Argument(help="Folder that the data set was unpacked into.", metavar="SOURCE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.", metavar="FOLDER")],
    mpp: Annotated[
        float | None,
        typer.Option(callback=pixel_size, help="folder: size of a pixel in micrometres, where files do not say."),
    ] = None,
    category: Annotated[str | None, typer.Option(help="folder: kind of microscopy, as recipes weigh it.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="folder: names of the classes 1, 2, ...; totalsegmentator: the classes to take.", metavar="NAME,..."
        ),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="msd, nnunet: the channel to take of several, by number or name.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="amos: the scans to take.", metavar="ct|mr|all")] = None,
    skip_unpaired: Annotated[
        bool, typer.Option("--skip-unpaired", help="Leave out images without masks and masks without images.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a prepared folder; its split is kept.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write images, label images, index and split of a data set into a folder, all or nothing."""
    from promptless.data.sources import SOURCES

    one_of(kind, SOURCES, "KIND")
    options = given(
        kind,
        mpp=mpp,
        category=category,
        classes=None if classes is None else names_in(classes),
        channel=channel,
        modality=modality,
    )
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; nothing was written"):
        from promptless.data import preparation

        apart(source, output)
        writable(output.parent)
        found = SOURCES[kind](source, **options)
        with bar(len(found.ids), shown=not quiet and sys.stderr.isatty()) as advance:
            made = preparation.prepare(
                found, output, overwrite=overwrite, skip_unpaired=skip_unpaired, progress=advance
            )
    tell(made, output, quiet)


def given(kind: str, **options: object) -> dict[str, object]:
    """Return the options that were given; one that the reader of `kind` does not take is refused."""
    from promptless.data.sources import SOURCES

    told = {name: value for name, value in options.items() if value is not None}
    for name in told:
        takers = [other for other, read in SOURCES.items() if name in signature(read).parameters]
        if kind not in takers:
            raise typer.BadParameter(f"it is for {' and '.join(takers)}, not for {kind}", param_hint=f"--{name}")
    return told


def apart(source: Path, output: Path) -> None:
    """Refuse to write into what is read, or around it."""
    read, written = source.resolve(), output.resolve()
    if read == written or written in read.parents:
        raise FileExistsError(f"{output} would replace what is read; choose another folder with -o")


def tell(made: Preparation, output: Path, quiet: bool) -> None:
    """Print what there is now, and on stderr what was left out or is missing."""
    if not quiet:
        from promptless.data.preparation import few

        if made.left_out:
            typer.echo(f"left out: {few(made.left_out)} ({len(made.left_out)} in all)", err=True)
        if made.empty:
            typer.echo(f"nothing is labelled in {few(made.empty)} ({len(made.empty)} in all)", err=True)
        empty = [part for part, names in made.parts.items() if not names]
        if empty:
            typer.echo(
                f"no image is for {' or '.join(empty)}; split.json may be edited, --overwrite keeps it", err=True
            )
    n = sum(map(len, made.parts.values()))
    parts = ", ".join(f"{part} {len(names)}" for part, names in made.parts.items())
    typer.echo(f"{output}: {n} image{'s' if n != 1 else ''}, {parts}")
