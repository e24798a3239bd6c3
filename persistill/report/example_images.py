"""The test images that a comparison kept, and what its networks answered to them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.data_uri import Inlined, inlined_image
from persistill.report.predictions import arrays, predictions
from persistill.report.table import NOTHING

_AGAIN = "Move its folder away and run the recipe again."
_LONGEST = 24  # letters of a class's name beside an answer


class Kept(NamedTuple):
    """The images that a comparison kept.

    Attributes:
        rows: (M,) int64, which rows of the evaluations' predictions they are, ascending.
        target: (M,) int64, right classes.
        images: (M, C, H, W) uint8.
        others: by name, positions in these of images that were chosen for something, and what views show of them.
    """

    rows: NDArray[np.int64]
    target: NDArray[np.int64]
    images: NDArray[np.uint8]
    others: Mapping[str, NDArray[Any]]

    def chosen(self, name: str) -> list[int]:
        """Positions of the images that were chosen for something, in the order of the choice.

        Raises:
            UserError: if the file does not hold them.
        """
        places = self.others.get(name)
        if places is None or places.ndim != 1 or not all(0 <= place < len(self.rows) for place in places):
            raise UserError(f"the comparison's images.npz does not hold {name}. {_AGAIN}")
        return [int(place) for place in places]

    def view(self, name: str) -> NDArray[np.uint8]:
        """(M, C, H, W), what a view shows of the images, in 255ths.

        Raises:
            UserError: if the file does not hold it.
        """
        found = self.others.get(f"view_{name}")
        if found is None or found.ndim != 4 or len(found) != len(self.rows):
            raise UserError(f"the comparison's images.npz does not hold the view {name}. {_AGAIN}")
        return found


class Prediction(NamedTuple):
    """What one network says of one image.

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
    """An image with the answers to it.

    Attributes:
        name: its class.
        number: its row among the test images.
        image: itself.
        note: a few words on how it fared.
        answers: those that are always shown.
        folded: those that are shown when they are asked for.
        sheet: its persistence images, where they belong to the case.
    """

    name: str
    number: int
    image: Inlined
    note: str
    answers: tuple[Prediction, ...]
    folded: tuple[Prediction, ...] = ()
    sheet: Inlined | None = None


def kept_images(comparison: Comparison) -> Kept:
    """The images that the comparison's folder holds.

    Raises:
        UserError: if it holds none, or the file is damaged.
    """
    path = comparison.folder / "images.npz"
    if not path.exists():
        raise UserError(
            f"{comparison.folder} holds no images.npz: an older version made it. Move that folder away and run the "
            "recipe again; the comparison alone is made anew."
        )
    found = arrays(path)
    try:
        rows, target, images = (found.pop(name) for name in ("rows", "target", "images"))
    except KeyError as error:
        raise UserError(f"{path} does not hold {error}. {_AGAIN}") from None
    if not len(rows) == len(target) == len(images):
        raise UserError(f"{path} does not hold one row and one class for each image. {_AGAIN}")
    return Kept(rows, target, images, found)


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
    """Some of the kept images with the answers to them.

    Args:
        comparison: theirs.
        kept: all that it kept.
        places: positions in ``kept``.
        always: the networks whose answers are always shown.
        folded: those whose answers are shown when they are asked for.
        sheets: persistence images, one for each of ``places``.

    Raises:
        UserError: if predictions are missing, damaged or of other images.
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
                image=inlined_image(kept.images[place], name),
                note=f"{right[place]} of {len(runs)} students right",
                answers=tuple(of[place] for of in shown),
                folded=tuple(of[place] for of in hidden),
                sheet=sheet,
            )
        )
    return tuple(found)


def _answers(comparison: Comparison, arm: ArmSummary, kept: Kept) -> list[Prediction]:
    """What an arm's first network, or a teacher, says of each kept image."""
    wide = _logits(arm.runs[0], kept).astype(np.float64)
    with np.errstate(invalid="ignore"):  # of networks that diverged
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        probability = powers / powers.sum(axis=1, keepdims=True)
    found = []
    for of, label in zip(probability, kept.target.tolist(), strict=True):
        if not np.isfinite(of).all():
            found.append(Prediction(arm.label, "not finite", NOTHING, NOTHING, right=False))
            continue
        answer = int(of.argmax())
        name = _short(comparison.class_name(answer))
        found.append(Prediction(arm.label, name, _share(of[answer]), _share(of[label]), right=answer == label))
    return found


def _logits(run: Run, kept: Kept) -> NDArray[np.float32]:
    """(M, K), of the kept images."""
    target, logits = predictions(run.evaluation)
    if len(kept.rows) and (kept.rows.max() >= len(target) or (target[kept.rows] != kept.target).any()):
        raise UserError(f"{run.evaluation} holds answers to other test images than those of the comparison.")
    return logits[kept.rows]


def _short(name: str) -> str:
    """A class's name as a narrow table can hold it."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _share(probability: float) -> str:
    if 0.995 <= probability < 1:
        return "> 99 %"
    return "< 1 %" if 0 < probability < 0.005 else f"{100 * probability:.0f} %"
