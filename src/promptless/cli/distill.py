"""`promptless distill`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from promptless.cli.edge import Quiet, Verbose, chatter, fail, reporting
from promptless.cli.train import of_student, on_volumes, placeable


def distill(
    teacher: Annotated[str, typer.Argument(help="The model to learn from, by name or folder.", metavar="TEACHER")],
    student: Annotated[
        str,
        typer.Option(
            help="unet2d_s for images; for scans unet3d_s (quick on a processor), unet3d_m (wider), or "
            "swinunetr_tiny, _small or _base."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled scans: images/, labels/ and split.json, as for training; or a prepared folder of images.",
            metavar="FOLDER",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the student, and its training.")],
    unlabelled: Annotated[
        Path | None,
        typer.Option(help="Scans or images without labels, of which the teacher alone speaks.", metavar="FOLDER"),
    ] = None,
    labelled: Annotated[
        int | None, typer.Option(min=1, help="Read the labels of so many training scans only, the first by hash.")
    ] = None,
    weight: Annotated[
        float, typer.Option(min=0, max=1, help="The teacher's share of the loss; the labels have the rest.")
    ] = 0.5,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.")] = None,
    seed: Annotated[int, typer.Option(help="Of the student's first weights, and of its crops.")] = 0,
    flips: Annotated[
        str, typer.Option(help="Axes out of zyx along which scans may be turned round; no class may have a side.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the student for scans that is there even by a worse one.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    ] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a small model on labels and on what a large one answers; `train` takes recipes that say more."""
    chatter(quiet, verbose)
    with reporting(verbose, "interrupted; the same command with --resume goes on from there"):
        try:
            from promptless.train import devices, distill_planar
            from promptless.train.distill import Distilling
            from promptless.train.volume import students
            from promptless.train.volume.recipe import check_variety
            from promptless.train.volume.variety import WIDE
        except ImportError as error:
            fail(f"training needs {error.name}: pip install 'promptless[sam]'")
        placeable(output)
        devices.find(device)
        if distill_planar.is_planar(student):
            if labelled is not None or flips:
                raise typer.BadParameter(
                    f"{student} is for images, which have neither", param_hint="--labelled, --flips"
                )
            own = distill_planar.SCHEDULE if steps is None else replace(distill_planar.SCHEDULE, steps=steps)
            how, name = Distilling(teacher, weight), output.absolute().name
            planar = distill_planar.recipe_for(how, student, data, name, unlabelled=unlabelled, seed=seed, schedule=own)
            of_student(planar, output, resume=resume, force=force, device=device, quiet=quiet)
            return
        check_variety(WIDE, flips, "--flips")
        schedule = students.SCHEDULE if steps is None else replace(students.SCHEDULE, steps=steps)
        recipe = students.recipe_for(
            Distilling(teacher, weight, labelled=labelled),
            student,
            data,
            output.absolute().name,
            unlabelled=unlabelled,
            flips=flips,
            seed=seed,
            schedule=schedule,
        )
        on_volumes(recipe, output, resume=resume, force=force, device=device, quiet=quiet)
