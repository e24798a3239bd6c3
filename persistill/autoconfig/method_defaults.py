"""From the name of a method to an arm of a recipe: settings, teachers, weight of the labels, start."""

from typing import Any

from persistill import losses
from persistill.config import Arm, as_methods
from persistill.errors import UserError, unknown
from persistill.settings import Settings

ALONE = "alone"
"""The arm without a teacher, with which all others are compared."""
IMAGE, TOPOLOGY = "image", "topology"
"""Teachers: the one that was asked for, and one of persistence images for methods that need a second."""

_GUIDED = {"tgd", "weightedtgd", "learnedtgd"}
_REPLACES_LABELS = {"kd", "averagedkd", *_GUIDED}
"""Methods whose published weights leave 0.1 of the loss to the labels; the others are added to them."""
_START = "ab"
"""The method that is no part of a loss beside others, but a training that comes before."""
_USUAL_AREA = 32 * 32
_PER_PAIR = {
    **dict.fromkeys(_GUIDED, ("similarity", 3000.0, 128)),
    "sp": ("weight", 3000.0, 128),
    "pkt": ("weight", 30000.0, 64),
}
"""Field, published weight, and the batch that it is for."""


def names() -> tuple[str, ...]:
    """Names of all methods of the package, in lower case, sorted."""
    return tuple(sorted(_table()))


def make_arms(wish: str, size: tuple[int, int], batch_size: int) -> dict[str, Arm]:
    """The arm of one method, or of several added up, under the name of the wish; AB has one more, which comes before.

    Settings are the defaults of each method's class, with these exceptions. TGD has ``alphas=(0.9, 0.1)`` and merges
    normalized maps, which on CIFAR-10 did better than the published values with a fitted view (docs/results.md). The
    weights of TGD's maps, SP and PKT are lowered with batches smaller than the published ones, because their terms, one
    entry a pair of images, grow as one over the batch. Those of AT and AMD are lowered for images below 32 x 32,
    because their terms grow as maps get smaller.

    Args:
        wish: "tgd", or "kd+at".
        size: height and width of the images.
        batch_size: of the student's training.

    Raises:
        UserError: if there is no such method, with the near names, or one is named twice.
    """
    wanted = [name.strip().lower() for name in wish.split("+")]
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--method {wish} names a method twice; name each of them once.")
    table = _table()
    for name in wanted:
        if name not in table:
            raise unknown("method", name, table, "Several are added up with a plus: kd+at.")
    name = "+".join(wanted)
    specs = {one: _settings(one, table[one], size, batch_size) for one in wanted}
    arms, start = {}, ALONE if _GUIDED & set(wanted) else None
    if _START in specs:
        start = f"{name} start"
        arms[start] = Arm(cross_entropy=0.0, methods=(specs.pop(_START),), teachers=(IMAGE,))
    needed = max((method.teachers_needed for method in as_methods(tuple(specs.values()))), default=0)
    arms[name] = Arm(
        cross_entropy=0.1 if _REPLACES_LABELS & set(wanted) else 1.0,
        methods=tuple(specs.values()),
        # A method may need any number; all but the first see persistence images.
        teachers=(IMAGE, *[TOPOLOGY] * (needed - 1)) if needed else (),
        start=start,
    )
    return arms


def _table() -> dict[str, type[Settings]]:
    public = {name: getattr(losses, name) for name in losses.__all__}
    return {
        name.lower(): found
        for name, found in public.items()
        if isinstance(found, type) and issubclass(found, Settings) and hasattr(found, "teachers_needed")
    }


def _settings(name: str, method: type[Settings], size: tuple[int, int], batch_size: int) -> Settings:
    area = min(1.0, size[0] * size[1] / _USUAL_AREA)
    if name in _PER_PAIR:
        field, weight, usual = _PER_PAIR[name]
        values: dict[str, Any] = {field: _rounded(weight * min(1.0, batch_size / usual))}
        if name == "tgd":
            values["alphas"] = (0.9, 0.1)
        return method(**values, merge="normalized") if name in _GUIDED else method(**values)
    if name == "at":
        return method(weight=_rounded(1000.0 * area))
    if name == "amd":
        return method(weight=_rounded(5000.0 * area**2))
    return method()


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
