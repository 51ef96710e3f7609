"""`promptless adapter`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptless.cli.edge import Device, Verbose, reporting

if TYPE_CHECKING:
    from promptless.adapters import Info

adapter = typer.Typer(help="Adapters: what one is, whether it is whole, and one with its backbone.")

Folder = Annotated[Path, typer.Argument(help="Folder of the adapter.", metavar="ADAPTER")]


@adapter.command()
def info(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Say what an adapter is: its backbone, what was trained, its size, its figures."""
    with reporting(verbose, "interrupted"):
        from promptless import adapters

        found = adapters.info(folder)
        typer.echo(json.dumps(asdict(found)) if as_json else "\n".join(in_words(found)))


@adapter.command()
def check(folder: Folder, device: Device = "auto", verbose: Verbose = False) -> None:
    """Compare files and backbone with their hashes, load the adapter and try it once; say OK, or what is wrong."""
    with reporting(verbose, "interrupted"):
        from promptless import adapters

        typer.echo(f"OK: {adapters.check(folder, device)}")


@adapter.command()
def merge(
    folder: Folder,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.", metavar="MODEL")],
    verbose: Verbose = False,
) -> None:
    """Write an adapter and its backbone as one: ONNX that runs without torch, for our small base, else a backbone."""
    with reporting(verbose, "interrupted; nothing was written"):
        from promptless import adapters

        typer.echo(f"{output}: {adapters.merge(folder, output)}")


def in_words(found: Info) -> Iterator[str]:
    """Yield what an adapter is, in lines for a person."""
    adapter = found.adapter
    here = {None: "not here", adapter.backbone: "here"}.get(found.backbone_here, f"here as {found.backbone_here}")
    features = ", which takes the generator's features" if adapter.features == "generator" else ""
    yield f"{found.name} {found.version}, licence {found.licence}, {found.bytes / 1e6:.1f} MB"
    yield f"  backbone      {adapter.backbone}{features}; {here}"
    yield f"  its sha256    {adapter.sha256}"
    yield f"  output        {found.output}" + (f", classes {', '.join(found.classes)}" if found.classes else "")
    yield f"  input         {'any size' if found.input_size is None else f'at most {found.input_size} pixels per side'}"
    yield f"  LoRA          {f'rank {adapter.rank}' if adapter.rank else 'none'}"
    for name, part in found.parts.items():
        yield f"  {name:13} {part.parameters:,} parameters, {part.bytes:,} bytes"
    if found.figures:
        yield ""
        yield found.figures
