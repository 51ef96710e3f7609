"""The command line, one file per command. Only here is anything printed; what is heavy is imported late."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptless.cli.ablate import ablate
from promptless.cli.adapter import adapter
from promptless.cli.check import check
from promptless.cli.convert import convert, export
from promptless.cli.data import data
from promptless.cli.distill import distill
from promptless.cli.edge import Exit
from promptless.cli.evaluate import evaluate
from promptless.cli.models import models
from promptless.cli.prompts import prompts
from promptless.cli.seams import seams
from promptless.cli.segment import segment
from promptless.cli.train import train


class Root(TyperGroup):
    """All commands; `export MODEL --onnx` is `models export MODEL`, since `export` is for labels."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, those of an export of a model as what they mean."""
        if args[:1] == ["export"] and "--onnx" in args:
            args = ["models", *(word for word in args if word != "--onnx")]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Root,
    help="Segment biomedical images with the Segment Anything Model; nobody has to prompt it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


for command in (segment, prompts, check, evaluate, convert, export, seams, train, distill, ablate):
    app.command()(command)
app.add_typer(adapter, name="adapter")
app.add_typer(data, name="data")
app.add_typer(models, name="models")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
