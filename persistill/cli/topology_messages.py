"""What `persistill topology` says at its end: what was left out, what lies outside of the window, and the files."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from persistill.cli.topology_wishes import Outcome
from persistill.extraction.window import WindowShare
from persistill.topology import PersistenceImageConfig

_SHOWN = 3  # left-out images that are named
_COLORS = 4  # channels of RGBA
_ENOUGH = 0.5  # share of the bars, or of their persistence, below which a window needs a word


def print_outcome(console: Console, outcome: Outcome, output: Path | None) -> None:
    """Print it.

    Args:
        console: where.
        outcome: of the command.
        output: the folder with results, if there is one.
    """
    for sentence in _sentences(outcome):
        console.print(sentence)
    if outcome.before:
        console.print(f"{output} was complete already.")
    table = Table(box=None, show_header=False)
    table.add_column(overflow="fold")
    for file, what in outcome.files:
        table.add_row(str(file), what)
    console.print(table)


def _sentences(outcome: Outcome) -> list[str]:
    found = []
    if outcome.channels > _COLORS:
        found.append(
            f"Each of the {outcome.channels:,} channels of an image was read on its own. If these are slices of a "
            "volume: they are no neighbors here, there are no 3-D complexes."
        )
    if outcome.gray:
        found.append(f"Gray images among colored ones ({outcome.gray:,} of {outcome.images:,}) were read as RGB.")
    if outcome.skipped:
        named = "; ".join(f"{name} ({why})" for name, why in outcome.skipped[:_SHOWN])
        more = len(outcome.skipped) - _SHOWN
        found.append(
            f"Left out, because they cannot be read ({len(outcome.skipped):,} of {outcome.images:,}): {named}"
            f"{f'; and {more} more, all in settings.json' if more > 0 else ''}."
        )
    if outcome.damaged:
        found.append(f"Files that had changed were made again: {'; '.join(outcome.damaged)}.")
    low, high = outcome.values
    if outcome.floats and (low < 0 or high > 1):
        found.append(
            f"Values run from {low:g} to {high:g}; settings, levels and persistences count in the same units. If these "
            "are 8-bit images stored as floats, divide them by 255, or save them as uint8."
        )
    if outcome.share is not None:
        found.append(_about_window(outcome.share, outcome.settings, outcome.images))
    return found


def _about_window(share: WindowShare, settings: PersistenceImageConfig, total: int) -> str:
    looked_at = f"{share.images:,} of {total:,} images" if share.images < total else "all images"
    if not share.bars:
        return (
            f"No bar of {looked_at} is longer than {settings.min_persistence:g}: their persistence images are blank. "
            "Give a smaller --min-persistence."
        )
    births, persistences = (
        " to ".join(f"{end:.3g}" for end in ends) for ends in (settings.births, settings.persistences)
    )
    percent = "less than 1" if 0 < share.persistence < 0.01 else f"{100 * share.persistence:.0f}"
    told = (
        f"The window (births {births}, persistences {persistences}) holds {share.inside:,} of {share.bars:,} bars of "
        f"{looked_at}, {percent} % of their persistence."
    )
    if min(share.inside / share.bars, share.persistence) >= _ENOUGH:
        return told
    return f"{told} What lies outside is lost: fit the window to the images, --preset fitted, or move it."
