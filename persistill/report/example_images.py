"""The test pictures that a comparison kept, and what its networks answered to them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.data_uri import Inlined, inlined_picture
from persistill.report.predictions import arrays, predictions
from persistill.report.table import NOTHING

_AGAIN = "Move its folder away and run the recipe again."
_LONGEST = 24  # letters of a class's name beside an answer


class Kept(NamedTuple):
    """The pictures that a comparison kept.

    Attributes:
        rows: (M,) int64, which rows of the evaluations' predictions they are, ascending.
        target: (M,) int64, right classes.
        pictures: (M, C, H, W) uint8.
        others: by name, positions in these of pictures that were chosen for something, and what views show of them.
    """

    rows: NDArray[np.int64]
    target: NDArray[np.int64]
    pictures: NDArray[np.uint8]
    others: Mapping[str, NDArray[Any]]

    def chosen(self, name: str) -> list[int]:
        """Positions of the pictures that were chosen for something, in the order of the choice.

        Raises:
            UserError: if the file does not hold them.
        """
        places = self.others.get(name)
        if places is None or places.ndim != 1 or not all(0 <= place < len(self.rows) for place in places):
            raise UserError(f"the comparison's pictures.npz does not hold {name}. {_AGAIN}")
        return [int(place) for place in places]

    def view(self, name: str) -> NDArray[np.uint8]:
        """(M, C, H, W), what a view shows of the pictures, in 255ths.

        Raises:
            UserError: if the file does not hold it.
        """
        found = self.others.get(f"view_{name}")
        if found is None or found.ndim != 4 or len(found) != len(self.rows):
            raise UserError(f"the comparison's pictures.npz does not hold the view {name}. {_AGAIN}")
        return found


class Answer(NamedTuple):
    """What one network says of one picture.

    Attributes:
        network: its name.
        answer: the class that it names.
        sure: its probability of that class.
        of_right: its probability of the right class.
        right: whether the two are one.
    """

    network: str
    answer: str
    sure: str
    of_right: str
    right: bool


class Case(NamedTuple):
    """A picture with the answers to it.

    Attributes:
        name: its class.
        number: its row among the test pictures.
        picture: itself.
        note: a few words on how it fared.
        answers: those that are always shown.
        folded: those that are shown when they are asked for.
        sheet: its persistence images, where they belong to the case.
    """

    name: str
    number: int
    picture: Inlined
    note: str
    answers: tuple[Answer, ...]
    folded: tuple[Answer, ...] = ()
    sheet: Inlined | None = None


def kept_pictures(comparison: Comparison) -> Kept:
    """The pictures that the comparison's folder holds.

    Raises:
        UserError: if it holds none, or the file is damaged.
    """
    path = comparison.folder / "pictures.npz"
    if not path.exists():
        raise UserError(
            f"{comparison.folder} holds no pictures.npz: an older version made it. Move that folder away and run the "
            "recipe again; the comparison alone is made anew."
        )
    found = arrays(path)
    try:
        rows, target, pictures = (found.pop(name) for name in ("rows", "target", "pictures"))
    except KeyError as error:
        raise UserError(f"{path} does not hold {error}. {_AGAIN}") from None
    if not len(rows) == len(target) == len(pictures):
        raise UserError(f"{path} does not hold one row and one class for each picture. {_AGAIN}")
    return Kept(rows, target, pictures, found)


def standing(comparison: Comparison) -> tuple[ArmSummary, ...]:
    """The students that stand for all where there is no room: of the baseline, and of the arm that is exported."""
    names = {arm.name for arm in comparison.arms[:1]} | {comparison.exported}
    return tuple(arm for arm in comparison.arms if arm.name in names and arm.runs)


def cases(
    comparison: Comparison,
    kept: Kept,
    places: Sequence[int],
    always: Sequence[ArmSummary],
    folded: Sequence[ArmSummary] = (),
    sheets: Sequence[Inlined | None] | None = None,
) -> tuple[Case, ...]:
    """Some of the kept pictures with the answers to them.

    Args:
        comparison: theirs.
        kept: all that it kept.
        places: positions in ``kept``.
        always: the networks whose answers are always shown.
        folded: those whose answers are shown when they are asked for.
        sheets: persistence images, one for each of ``places``.

    Raises:
        UserError: if predictions are missing, damaged or of other pictures.
    """
    runs = [run for arm in comparison.arms for run in arm.runs]
    right = np.zeros(len(kept.rows), np.int64)
    for run in runs:
        right += _logits(run, kept).argmax(axis=1) == kept.target
    shown, hidden = ([_answers(comparison, arm, kept) for arm in arms] for arms in (always, folded))
    found = []
    for place, sheet in zip(places, sheets or [None] * len(places), strict=True):
        name = comparison.class_name(int(kept.target[place]))
        found.append(
            Case(
                name=name,
                number=int(kept.rows[place]),
                picture=inlined_picture(kept.pictures[place], name),
                note=f"{right[place]} of {len(runs)} students right",
                answers=tuple(of[place] for of in shown),
                folded=tuple(of[place] for of in hidden),
                sheet=sheet,
            )
        )
    return tuple(found)


def _answers(comparison: Comparison, arm: ArmSummary, kept: Kept) -> list[Answer]:
    """What an arm's first network, or a teacher, says of each kept picture."""
    wide = _logits(arm.runs[0], kept).astype(np.float64)
    with np.errstate(invalid="ignore"):  # of networks that diverged
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        probability = powers / powers.sum(axis=1, keepdims=True)
    found = []
    for of, label in zip(probability, kept.target.tolist(), strict=True):
        if not np.isfinite(of).all():
            found.append(Answer(arm.label, "not finite", NOTHING, NOTHING, right=False))
            continue
        answer = int(of.argmax())
        name = _short(comparison.class_name(answer))
        found.append(Answer(arm.label, name, _share(of[answer]), _share(of[label]), right=answer == label))
    return found


def _logits(run: Run, kept: Kept) -> NDArray[np.float32]:
    """(M, K), of the kept pictures."""
    target, logits = predictions(run.evaluation)
    if len(kept.rows) and (kept.rows.max() >= len(target) or (target[kept.rows] != kept.target).any()):
        raise UserError(f"{run.evaluation} holds answers to other test pictures than those of the comparison.")
    return logits[kept.rows]


def _short(name: str) -> str:
    """A class's name as a narrow table can hold it."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _share(probability: float) -> str:
    if 0.995 <= probability < 1:
        return "> 99 %"
    return "< 1 %" if 0 < probability < 0.005 else f"{100 * probability:.0f} %"
