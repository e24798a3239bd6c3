"""`persistill sweep`: settings of a recipe varied, trials compared on validation images, the best one run whole."""

import shlex
from typing import Annotated

import typer

from persistill.cli.console import console, quiet_start
from persistill.cli.options import Changes, Device, Out, Quick, Seeds, Small, Workers, recipe_changes
from persistill.errors import UserError

SUMMARY = "Vary settings of a recipe, and run the best on validation images whole."
EXAMPLES = (
    "persistill sweep kd_digits --over train.lr='log(0.01, 0.3)' --arm kd --trials 20",
    "persistill sweep my_recipe.py --over arms.tgd.methods.0.alphas='choice((0.9, 0.1), (0.5, 0.5))' --workers 4",
)


def sweep(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one (persistill ls).")],
    over: Annotated[
        list[str],
        typer.Option(
            "--over",
            metavar="FIELD=VALUES",
            help="What to vary: log(0.01, 0.3), uniform(0, 1), int(1, 9), logint(8, 256) or choice(a, b); repeatable.",
        ),
    ],
    trials: Annotated[int, typer.Option("--trials", min=1, help="In all, those of earlier calls included.")] = 20,
    arm: Annotated[
        str | None,
        typer.Option(
            "--arm", help="Whose students are compared; by default the one that is exported, or that alone is varied."
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Give up trials that are behind the median of the others.")
    ] = True,
    sweep_seed: Annotated[int, typer.Option("--sweep-seed", min=0, help="Of the choice of values.")] = 0,
    out: Out = "runs",
    device: Device = "auto",
    seeds: Seeds = None,
    changes: Changes = None,
    small: Small = False,
    quick: Quick = False,
    workers: Workers = None,
    executor: Annotated[
        str | None, typer.Option("--executor", metavar="processes|ray|slurm", help="Where stages are worked at.")
    ] = None,
    devices: Annotated[int | None, typer.Option("--devices", hidden=True)] = None,
    nodes: Annotated[int | None, typer.Option("--nodes", hidden=True)] = None,
) -> None:
    """Vary settings of a recipe, compare trials on validation images, and run the best one whole.

    Values are chosen by Optuna, which learns from the trials before. A trial trains the students of one arm; what
    trials have in common is trained once, and no trial reads a test image. The best one is run as the recipe says,
    report and export included. Interrupted and run again, the sweep goes on where it stopped; with more --trials it
    adds some.
    """
    if devices is not None or nodes is not None:
        from persistill.api.sweep import SHARED  # noqa: PLC0415 - numpy is slow to import

        raise UserError(f"--devices and --nodes are not for sweeps. {SHARED}")
    with quiet_start():
        from persistill.api.progress_bars import Bars  # noqa: PLC0415 - torch is slow to import
        from persistill.api.sweep import sweep as run_sweep  # noqa: PLC0415
        from persistill.cli.run_recipe import print_result  # noqa: PLC0415
        from persistill.pipeline.sweep.space import parse_over  # noqa: PLC0415

    space = parse_over(over)
    with Bars(console) as bars:
        found = run_sweep(
            recipe,
            {field: str(dimension) for field, dimension in space.items()},
            trials=trials,
            arm=arm,
            prune=prune,
            seed=sweep_seed,
            out=out,
            device=device,
            small=small,
            quick=quick,
            changes=recipe_changes(changes, seeds, None),
            progress=bars,
            command=f"persistill sweep {recipe} " + " ".join(f"--over {shlex.quote(text)}" for text in over),
            workers=workers,
            executor=executor,
        )
    print_result(found.result, out)
    console.print(f"Best values       {', '.join(f'{field}={value}' for field, value in found.best.items())}")
    console.print(f"Sweep             {found.page}", soft_wrap=True)
