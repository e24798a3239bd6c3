"""The first section: which student to take, and why. It takes its picture from the section that draws it."""

from collections.abc import Sequence
from dataclasses import replace

from persistill.report.decision import Decision
from persistill.report.figure import Figure, Section

_PICTURES = ("significance", "accuracy")
"""Sections whose first figure can show the decision: the differences, or every seed where there are none."""


def with_decision(decision: Decision, parts: Sequence[Section | str]) -> list[Section | str]:
    """The sections of a page, the decision before them.

    Args:
        decision: what the comparison comes to.
        parts: all sections, or sentences that say why there is none.
    """
    parts = list(parts)
    sections = {part.name: place for place, part in enumerate(parts) if isinstance(part, Section)}
    figures: tuple[Figure, ...] = ()
    for name in _PICTURES:
        section = parts[sections[name]] if name in sections else None
        if isinstance(section, Section) and section.figures:
            figures = section.figures[:1]
            left = replace(section, figures=section.figures[1:])
            if left.figures or left.tables or left.content:
                parts[sections[name]] = left
            else:
                del parts[sections[name]]
            break
    first = Section(
        name="decision",
        title="What to take",
        text="",
        figures=figures,
        template="decision.html",
        content={"decision": decision},
    )
    return [first, *parts]
