"""Test images with their true and their predicted masks."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.data_uri import Inlined, inlined_image, inlined_mask
from persistill.report.example_images import standing
from persistill.report.figure import Section
from persistill.report.predictions import arrays
from persistill.utils.class_colors import IGNORED, class_colors


class Row(NamedTuple):
    """One test image.

    Attributes:
        number: its row among the test images.
        note: why it is shown.
        masks: the image, its true mask, and what networks give, each labeled.
    """

    number: int
    note: str
    masks: tuple[Inlined, ...]


def segmentation_examples(comparison: Comparison) -> Section | str:
    """Image, truth, teachers and students side by side, with the colors of the classes."""
    shown = (*(teacher for teacher in comparison.teachers if teacher.runs), *standing(comparison))
    if not any(arm.runs for arm in comparison.arms):
        return "Predicted masks: no run of this comparison is complete."
    try:
        kept = arrays(comparison.folder / "images.npz")
        answers = {arm.label: _answers(arm, kept["rows"], kept["target"].shape[1:]) for arm in shown}
        order = [(int(place), "hardest") for place in kept["hardest"]]
        order += [(int(place), "") for place in kept["others"]]
        rows = [_row(comparison, kept, answers, place, note) for place, note in order]
    except (UserError, KeyError, IndexError) as error:
        return f"Predicted masks: {error}"
    names = [comparison.class_name(number) for number in range(len(comparison.classes))]
    colors = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in class_colors(len(names)).tolist()]
    return Section(
        name="predicted-masks",
        title="Predicted masks",
        text=(
            "Test images, their true masks, and those that the teachers and, of the first and the exported arm, the "
            "students of the first seed give. The hardest, on which students have the least mean IoU, stand first; the "
            "others are evenly spaced. Below each mask stands its own mIoU, over the classes of this image. Pixels "
            "without a class are left white in the truth. Test images are numbered from 0."
        ),
        template="segmentation_examples.html",
        content={"rows": rows, "legend": list(zip(names, colors, strict=True))},
    )


def _row(
    comparison: Comparison, kept: dict[str, NDArray[Any]], answers: dict[str, NDArray[Any]], place: int, note: str
) -> Row:
    target, classes = kept["target"][place], len(comparison.classes)
    image = inlined_image(kept["images"][place], "")._replace(text="The image", label="image")
    truth = inlined_mask(target, classes, "truth", "The true mask")
    masks = []
    for label, of in answers.items():
        text = f"{label}: {_mean_iou(of[place], target):.0%}".replace("nan%", "—")
        masks.append(inlined_mask(of[place], classes, text, f"The mask that {label} gives"))
    return Row(int(kept["rows"][place]), note, (image, truth, *masks))


def _answers(arm: ArmSummary, rows: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """(n, h, w), the masks that an arm's first network gives to the images, at the size at which they were kept."""
    path = arm.runs[0].evaluation / "masks.npz"
    stored = arrays(path)
    places = {int(row): place for place, row in enumerate(stored["rows"])}
    if missing := [int(row) for row in rows if int(row) not in places]:
        raise UserError(f"{path} does not hold the mask of image {missing[0]}. Move its folder away and run again.")
    masks: NDArray[np.uint8] = stored["answer"][[places[int(row)] for row in rows]]
    height, width = masks.shape[1:]
    ys, xs = (np.arange(new) * old // new for new, old in zip(size, (height, width), strict=True))
    return masks[:, ys[:, None], xs[None, :]]


def _mean_iou(answer: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    counted = target != IGNORED
    answer, target = answer[counted], target[counted]
    classes = np.union1d(answer, target)
    shares = [((answer == one) & (target == one)).sum() / ((answer == one) | (target == one)).sum() for one in classes]
    return float(np.mean(shares)) if shares else float("nan")
