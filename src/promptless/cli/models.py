"""`promptless models`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import Annotated

import typer

from promptless.cli.edge import Exit, Quiet, Verbose, bar, chatter, fail, reporting
from promptless.errors import reason

models = typer.Typer(
    name="models", help="Models that ship, and weights that others have published.", no_args_is_help=True
)

Names = Annotated[
    list[str], typer.Argument(help="Names as in `promptless models list`, or OWNER/NAME on the hub.", metavar="NAME...")
]
INTERRUPTED = "interrupted; what came is kept, and the same command goes on from there"


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    name: str
    where: str  # ships, here or published
    megabytes: int
    licence: str
    about: str


@models.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per model.")] = False,
    verbose: Verbose = False,
) -> None:
    """List what ships, what is in PROMPTLESS_HOME and what can be pulled."""
    with reporting(verbose, "interrupted"):
        rows = [*shipped(), *kept(), *offered()]
        if as_json:
            for row in rows:
                typer.echo(json.dumps(asdict(row)))
            return
        wide, licence = (max(len(getattr(row, column)) for row in rows) for column in ("name", "licence"))
        typer.echo(f"{'NAME':{wide}}  {'WHERE':9}  {'SIZE':>8}  {'LICENCE':{licence}}  ABOUT")
        for row in rows:
            columns = f"{row.name:{wide}}  {row.where:9}  {row.megabytes:5} MB  {row.licence:{licence}}  {row.about}"
            typer.echo(columns.rstrip())


@models.command()
def pull(
    names: Names,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network: say what to do instead.")] = False,
    timeout: Annotated[float, typer.Option(help="Give a server up that sends nothing for so many seconds.")] = 30.0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch published weights, check them, and keep them in PROMPTLESS_HOME; what came before is gone on from."""
    chatter(quiet, verbose)
    if timeout <= 0:
        raise typer.BadParameter(f"{timeout:g} seconds are none", param_hint="--timeout")
    need_torch()
    with reporting(verbose, INTERRUPTED):
        from promptless import library
        from promptless.published import PUBLISHED, on_hub

        for name in names:
            published = PUBLISHED.get(name) or on_hub(name)
            if published is not None and not quiet:
                typer.echo(f"{name}: licence {published.licence} ({published.page})", err=True)
            with bar(1, shown=not quiet and sys.stderr.isatty()) as advance:
                folder = library.pull(name, offline=offline, timeout=timeout, progress=naming(advance, name))
            typer.echo(f"{folder}")


@models.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names; without any, all that are here.", metavar="[NAME...]")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Check the files of models that ship or are here against their hashes."""
    with reporting(verbose, "interrupted"):
        from promptless import library, registry

        chosen = names or [*registry.names(), *library.names()]
        wrong = 0
        for name in chosen:
            try:
                library.verify(name)
            except (ValueError, OSError) as error:
                wrong += 1
                typer.echo(f"{name}: {reason(error)}", err=True)
            else:
                typer.echo(f"{name}: good")
    if wrong:
        raise typer.Exit(Exit.ERROR if wrong == len(chosen) else Exit.PARTIAL)


@models.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Weights of a SAM ViT-B, L or H: .pth, .pt or .safetensors.")],
    name: Annotated[str, typer.Option(help="What to call it; a published name where the file is that one.")],
    licence: Annotated[str | None, typer.Option(help="Its licence, kept with it.")] = None,
    verbose: Verbose = False,
) -> None:
    """Check weights in a file, of Meta's layout or of transformers', and keep them in PROMPTLESS_HOME."""
    need_torch()
    with reporting(verbose, "interrupted; nothing was imported"):
        from promptless import library
        from promptless.published import PUBLISHED

        if licence is None:
            licence = PUBLISHED[name].licence if name in PUBLISHED else "unknown"
        folder = library.add(file, name, licence=licence)
        found = library.provenance(folder)
        for part in found.left_out:
            typer.echo(f"not imported: {part}", err=True)
        typer.echo(f"{name} is a {found.backbone}", err=True)
        typer.echo(f"{folder}")


@models.command()
def card(
    name: Annotated[
        str, typer.Argument(help="A name as in `promptless models list`, or a model folder.", metavar="MODEL")
    ],
    verbose: Verbose = False,
) -> None:
    """Print what a model says of itself: what it is for, what it was trained on, how good it is; and its files."""
    with reporting(verbose, "interrupted"):
        from promptless.cli import cards

        typer.echo("\n".join(cards.lines(name)))


@models.command("export")
def export_(
    model: Annotated[
        str, typer.Argument(help="Name of a model that ships, a model folder, or an adapter.", metavar="MODEL")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the ONNX model; it must not be there.")],
    int8: Annotated[bool, typer.Option("--int8", help="Compute in 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="Scans, or images, or folders of them, that ranges of values are learned from."),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="What both are compared on; without, what is calibrated by, else something made up."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write a model as ONNX, which runs without torch, and tell how near it comes to the original.

    An adapter becomes one with its backbone, where that is our small base.
    """
    if int8 != bool(calibrate):
        raise typer.BadParameter(
            "8 bits need scans or images to calibrate by (--calibrate), and nothing else does", param_hint="--int8"
        )
    need_torch()
    with reporting(verbose, "interrupted; nothing was written"):
        from promptless import library, registry
        from promptless.config import VOXELS, ModelConfig
        from promptless.published import PUBLISHED

        if model in {*library.names(), *PUBLISHED} - {*registry.names()}:
            fail(f"{model} is a backbone, and has no ONNX; name a model, or an adapter on our small base")
        source = registry.find(model)
        config = ModelConfig.read(source / registry.CONFIG)
        write = volumes_as_onnx if config.output == VOXELS else planes_as_onnx
        typer.echo(write(source, output, calibrate or (), compare or ()), err=True)
        typer.echo(f"{output}")


def volumes_as_onnx(source: Path, output: Path, calibrate: Sequence[Path], compare: Sequence[Path]) -> str:
    """Write a model on volumes as ONNX, and return in words how near it comes to the original."""
    from promptless import volume_export
    from promptless.io import scans
    from promptless.io.scans.folders import scans_in

    known = [scans.read(path) for path in some("scan", calibrate, scans_in)]
    judged = [(path.name, scans.read(path)) for path in some("scan", compare, scans_in)]
    told = volume_export.export(source, output, judged, known)
    return (
        f"labels of both: mean Dice {told.mean_dice:.4f}; logits, of at most {told.largest_logit:.3g}, differ by "
        f"{told.largest_difference:.2g} at most; on {', '.join(told.scans)}"
    )


def planes_as_onnx(source: Path, output: Path, calibrate: Sequence[Path], compare: Sequence[Path]) -> str:
    """Write a model on planes as ONNX, and return in words how near it comes to the original."""
    from promptless import planar_export
    from promptless.io import readers
    from promptless.io.readers.folders import images_in

    known, judged = ([readers.read(path) for path in some("image", paths, images_in)] for paths in (calibrate, compare))
    told = planar_export.export(source, output, known, judged)
    found = f"objects of both: AP at IoU .9 {told.ap90:.4f}, pixel Dice {told.dice:.4f}"
    where = f"{told.images} image{'s' * (told.images > 1)}" if known or judged else "an image that was made up"
    return (
        f"{'neither finds an object' if isnan(told.ap90) else found}; logits differ by {told.largest:.2g} at most; "
        f"on {where}"
    )


def some(what: str, paths: Sequence[Path], listed: Callable[[Sequence[Path]], list[Path]]) -> list[Path]:
    """Return what folders and files stand for; where something is named, there must be something."""
    found = listed(paths)
    if paths and not found:
        raise FileNotFoundError(f"there is no {what} in {', '.join(map(str, paths))}")
    return found


def naming(advance: Callable[[float, str], None], name: str) -> Callable[[float], None]:
    """Return what moves a progress bar that says `name`."""
    return lambda share: advance(share, name)


def need_torch() -> None:
    """Fail now, not after the download, where a package that backbones need is not there."""
    missing = [name for name in ("torch", "transformers", "safetensors", "huggingface_hub") if find_spec(name) is None]
    if missing:
        fail(f"backbones need {', '.join(missing)}: pip install 'promptless[sam]'")


def shipped() -> Iterator[Row]:
    """Yield the models that ship."""
    from promptless import registry
    from promptless.cli.cards import GIVES
    from promptless.config import ModelConfig

    for name in registry.names():
        config = ModelConfig.read(registry.find(name) / registry.CONFIG)
        about = f"{config.kind.modality}; {GIVES[config.output]}"
        yield Row(name, "ships", megabytes(registry.find(name)), config.licence, about)


def kept() -> Iterator[Row]:
    """Yield the backbones that are here."""
    from promptless import library
    from promptless.published import PUBLISHED

    for name in library.names():
        found = library.provenance(library.find(name))
        about = PUBLISHED[name].about if name in PUBLISHED else f"{found.backbone} from {found.source}"
        yield Row(name, "here", megabytes(library.find(name)), found.licence, about)


def offered() -> Iterator[Row]:
    """Yield what can be pulled and is not here."""
    from promptless import library
    from promptless.published import PUBLISHED

    here = library.names()
    for name, published in PUBLISHED.items():
        if name not in here:
            yield Row(name, "published", round(published.size / 1e6), published.licence, published.about)


def megabytes(folder: Path) -> int:
    """Return the size of the files in a folder."""
    return round(sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6)
