"""`persistill replay`: a training that diverged, repeated to see where."""

from pathlib import Path
from typing import Annotated

import typer

from persistill.api import recipe_files
from persistill.cli.console import console, quiet_start
from persistill.cli.options import Changes, Device, Export, Quick, Seeds, Small, recipe_changes

SUMMARY = "Repeat a training that diverged, and name the layer at which it did."
EXAMPLES = ("persistill replay my_recipe.py --set train.lr=5 --run runs/student-kd-seed0-0123456789ab",)


def replay(
    recipe: Annotated[str, typer.Argument(help="The recipe that was run: a file, or the name of a shipped one.")],
    run: Annotated[Path, typer.Option("--run", help="The run folder of the training that diverged.")],
    device: Device = "auto",
    seeds: Seeds = None,
    changes: Changes = None,
    small: Small = False,
    quick: Quick = False,
    export: Export = None,
) -> None:
    """Repeat a training that diverged from its last checkpoint, and name the layer at which it did.

    Give the options that the recipe was run with. Nothing is changed; the batch lies in diverged.safetensors in the
    training's run folder.
    """
    changed = recipe_changes(changes, seeds, export)
    with quiet_start():
        from persistill.api.progress_bars import Bars  # noqa: PLC0415 - torch is slow to import
        from persistill.pipeline import Pipeline  # noqa: PLC0415
        from persistill.pipeline.replay import replay as repeat  # noqa: PLC0415
    place = run.resolve()
    with Bars(console) as bars:
        pipeline = Pipeline(
            recipe_files.read(recipe, changed, small=small, quick=quick), place.parent, device=device, progress=bars
        )
        found = repeat(pipeline, place.name)
    lines = [f"Step {found.step}: {', '.join(f'{name} {value:.6g}' for name, value in found.terms.items())}"]
    if found.layer:
        lines.append(f"The first layer that gave something that is not finite: {found.layer}")
    else:
        lines.append("Every layer gave finite numbers: the loss itself, or its gradient, is not finite.")
    if found.weights:
        names = ", ".join(found.weights[:3]) + (", ..." if len(found.weights) > 3 else "")
        lines.append(f"{len(found.weights)} weights were not finite before it, from the step before: {names}")
    lines.append(f"The batch: {found.batch}")
    for line in lines:
        console.print(line, soft_wrap=True)
