"""`persistill verify`: are the files of run folders still those that were written?"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from persistill import run_folder
from persistill.api.text_console import text_console
from persistill.errors import UserError
from persistill.extraction import shard_hashes
from persistill.run_folder import DamagedRunError, RunFolder
from persistill.storage import all_files

SUMMARY = "Compare every file of run folders with the hash that was noted when it was written."
EXAMPLES = (
    "persistill verify runs",
    "persistill verify runs/student-tgd-seed0-0123456789ab",
    "persistill verify topology",
)
DAMAGED = 1
"""Exit code where something is damaged or missing."""

console = text_console(soft_wrap=True)


def verify(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of run folders (as of --out) or their URLs, run folders, or shards of persistill topology."
        ),
    ],
) -> None:
    """Compare every file of run folders with the hash that was noted when its stage ended.

    Shards of persistill topology are compared likewise. Names what is damaged, missing or extra, and what was made of
    files that have changed since. Nothing is changed. It ends with exit code 0 if all is as it was written, and with 1
    if something is damaged or missing; files that were added, and stages that are not finished, are named and damage
    nothing. What lies at a URL is copied to this machine for as long as it takes.
    """
    folders: list[RunFolder] = []
    broken: list[Path] = []
    places: dict[Path, str] = {}
    damaged_shards = 0
    with contextlib.ExitStack() as copies:
        for given in runs:
            place = copies.enter_context(all_files(given))
            if shard_hashes.is_sharded(place):
                damaged_shards += _damaged_shards(place)
                continue
            places[place] = given
            readable, others = _found(place, given)
            folders += readable
            broken += others
        tell = partial(_tell, places)
        for path in broken:
            tell(
                f"{path}: damaged: its run.json is missing or cannot be read, or another version of persistill wrote it"
            )
        if damaged_shards:
            console.print(
                "Remove damaged shards, and run the same persistill topology again: it makes what is missing."
            )
        damaged = len(broken) + sum(_damaged(folder, tell) for folder in folders)
        finished = sum(folder.complete for folder in folders)
    if folders or broken:
        console.print(
            f"{len(folders) + len(broken)} run folders, {finished} of them finished: "
            f"{f'{damaged} damaged' if damaged else 'nothing is damaged'}."
        )
    if damaged:
        console.print("Run the recipe again: damaged stages are moved to .damaged, and computed again.")
    if damaged or damaged_shards:
        raise typer.Exit(DAMAGED)


def _damaged_shards(folder: Path) -> int:
    """Print what is wrong with results of `persistill topology` in shards; how many are damaged."""
    found = dict(shard_hashes.differences(folder))
    wrong = {path: problem for path, problem in found.items() if problem}
    for path, problem in wrong.items():
        console.print(f"{path}: {'missing' if problem == 'it is gone' else f'damaged: {problem}'}")
    console.print(f"{folder}: {len(found)} shards: {f'{len(wrong)} damaged' if wrong else 'nothing is damaged'}.")
    return len(wrong)


def _found(place: Path, given: str) -> tuple[list[RunFolder], list[Path]]:
    """Run folders at a place, and folders that are broken.

    Raises:
        UserError: if there are none.
    """
    if not place.is_dir():
        raise UserError(f"{given} is no folder: name one that holds run folders, or a run folder.")
    if (place / "run.json").exists():
        return [RunFolder.open(place)], []
    readable, others = run_folder.scan(place)
    others += sorted({file.parent for file in place.glob("*/files.json") if not (file.parent / "run.json").exists()})
    if not readable and not others:
        raise UserError(f"{given} holds no run folders: name the folder or the URL that was given as --out.")
    return readable, others


def _tell(places: Mapping[Path, str], text: str) -> None:
    """Print a line, with the names that were given for places in place of those of copies."""
    for place, given in places.items():
        text = text.replace(str(place), given.rstrip("/"))
    console.print(text)


def _damaged(folder: RunFolder, tell: Callable[[str], None]) -> bool:
    """Print what is wrong with one folder; whether it is damage."""
    if not folder.complete:
        state = "at work" if run_folder.at_work(folder.path) else "not finished"
        tell(f"{folder.path}: {state}")
        # A stage writes files.json just before done.json.
        if not folder.file("files.json").exists() or state == "at work":
            return False
        tell(f"{folder.file('done.json')}: missing: it was removed, or its process was killed just before it wrote it")
        return True
    try:
        found = folder.differences()
        outdated = _outdated(folder)
    except DamagedRunError as error:
        tell(f"{error}".partition(" Run its recipe")[0])
        return True
    for name, problem in found.items():
        told = {"extra": "extra: no stage wrote it", "it is gone": "missing"}.get(problem, f"damaged: {problem}")
        tell(f"{folder.file(name)}: {told}")
    if outdated:
        tell(f"{folder.path}: made of what {', '.join(outdated)} held before it changed")
    return bool(outdated) or any(problem != "extra" for problem in found.values())


def _outdated(folder: RunFolder) -> list[str]:
    """Names of the folders beside it which no longer hold what it was made of."""
    changed = []
    for name, digest in folder.built_on().items():
        beside = folder.path.parent / Path(name).name
        # What cannot be read is named by itself.
        with contextlib.suppress(UserError):
            if (beside / "done.json").is_file() and RunFolder.open(beside).digest() != digest:
                changed.append(name)
    return changed
