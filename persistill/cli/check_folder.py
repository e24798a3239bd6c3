"""The checks of a folder of images by itself, before there is a recipe."""

import shlex
from pathlib import Path

from persistill.api.progress_bars import Bars
from persistill.autoconfig import defaults_of, guess_task
from persistill.cli.console import console
from persistill.cli.images_table import images_table
from persistill.config import CLASSIFICATION, Data
from persistill.tasks import TASKS
from persistill.utils.units import counted


def check_folder(folder: Path) -> None:
    """Read a folder as ``persistill distill`` would, and print its images, what is odd about them, and what comes next.

    Args:
        folder: of images, with classes, masks or boxes: its layout says which.

    Raises:
        UserError: if it cannot be read as that.
    """
    task, why = guess_task(str(folder))
    defaults = defaults_of(task)
    with Bars(console) as bars:
        seen = defaults.outline(Data(source=str(folder)))
        settings = Data(
            source=str(folder),
            size=defaults.choose_size(seen.sizes),
            resize=defaults.resize,
            validation=seen.validation,
            test=seen.test,
        )
        splits = TASKS.find(task).load(settings, bars)
    console.print(images_table(splits))
    for said in (*([why] if why else []), *seen.notes):
        console.print(f"- {said}")
    found = f"read the {counted(len(splits.notes), 'note')} on its images above" if splits.notes else "no problem found"
    option = "" if task == CLASSIFICATION else f" --task {task}"
    console.print(
        f"{folder}: {found}. To plan a distillation: persistill distill --data {shlex.quote(str(folder))}{option} "
        "--teacher NETWORK --student NETWORK --dry-run",
        soft_wrap=True,
    )
