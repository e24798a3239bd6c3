"""Which distillation losses make sense between detectors, and what to use in place of the others."""

from persistill.config import Recipe
from persistill.losses import DistillationLoss

_OWN, _OF_DETECTORS = "persistill.losses.", "persistill.losses.detection."
_HEAD_OUTPUTS = frozenset({"logits", "embedding"})


def method_problems(recipe: Recipe) -> list[str]:
    """What of the methods of a recipe's arms does not fit detectors, a sentence each.

    Losses of one's own are let through.
    """
    found = []
    for name, arm in recipe.arms.items():
        for loss in arm.methods:
            label, where = type(loss).__name__, f"arm {name!r}: "
            module = type(loss).__module__
            if module.startswith(_OWN) and not module.startswith(_OF_DETECTORS):
                found.append(f"{where}{label} {_instead(loss)}")
            elif recipe.teacher_cache != "off" and loss.required_outputs & _HEAD_OUTPUTS:
                found.append(
                    f"{where}teacher_cache={recipe.teacher_cache!r} stores the levels of detectors alone, and {label} "
                    "reads what their heads say at each place: set teacher_cache=off."
                )
    return found


def _instead(loss: DistillationLoss) -> str:
    label = type(loss).__name__
    if loss.required_outputs == {"feature_maps"} and loss.num_teachers == 1 and loss.preparation is None:
        return (
            f"compares stages by name, and detectors have levels, which are paired by their size: write "
            f"OnLevels(loss={label}(...)), from persistill.losses.detection."
        )
    if "logits" in loss.required_outputs:
        return (
            "compares classes of which an image, or a pixel, has one; at a place of a detector there may be several "
            "objects or none. Use DenseKD() or DenseDIST(), or a loss on levels (PKD, FGD, MGD, OnLevels), from "
            "persistill.losses.detection."
        )
    return (
        "reads more of a network than levels, and detectors have no embedding of an image that decides anything. Use a "
        "loss on levels: PKD, FGD, MGD or OnLevels, from persistill.losses.detection."
    )
