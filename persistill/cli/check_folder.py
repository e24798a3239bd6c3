"""The checks of a folder of images by itself, before there is a recipe."""

import shlex
from pathlib import Path

from persistill.api.progress_bars import Bars
from persistill.autoconfig import defaults_of, guess_task
from persistill.cli.console import console
from persistill.cli.images_table import images_table
from persistill.config import CLASSIFICATION, Data
from persistill.tasks import TASKS
from persistill.utils.remote_filesystem import is_url
from persistill.utils.units import counted


def check_folder(place: str) -> None:
    """Read images as ``persistill distill`` would, and print its images, what is odd about them, and what comes next.

    Args:
        place: a folder or a URL of images, with classes, masks or boxes: its layout says which.

    Raises:
        UserError: if it cannot be read as that.
    """
    place = place if is_url(place) else str(Path(place))
    task, why = guess_task(place)
    defaults = defaults_of(task)
    with Bars(console) as bars:
        seen = defaults.outline(Data(source=place))
        settings = Data(
            source=place,
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
        f"{place}: {found}. To plan a distillation: persistill distill --data {shlex.quote(place)}{option} "
        "--teacher NETWORK --student NETWORK --dry-run",
        soft_wrap=True,
    )
