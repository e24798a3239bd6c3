"""From the name of a method to an arm of a recipe: settings, teachers, weight of the labels, start."""

from persistill import methods
from persistill.errors import UserError, unknown
from persistill.recipe import Arm, as_methods
from persistill.specs import Spec

ALONE = "alone"
"""The arm without a teacher, with which all others are compared."""
IMAGE, TOPOLOGY = "image", "topology"
"""Teachers: the one that was asked for, and one of persistence images for methods that need a second."""

_REPLACES_LABELS = {"kd", "tgd"}
"""Methods whose published weights leave 0.1 of the loss to the labels; the others are added to them."""
_STARTS_FROM_ALONE = {"tgd"}
_USUAL_AREA = 32 * 32
_PER_PAIR = {"tgd": ("similarity", 3000.0, 128), "sp": ("weight", 3000.0, 128), "pkt": ("weight", 30000.0, 64)}
"""Field, published weight, and the batch that it is for."""


def names() -> tuple[str, ...]:
    """Names of all methods of the package, in lower case, sorted."""
    return tuple(sorted(_table()))


def make_arm(wish: str, size: tuple[int, int], batch_size: int) -> Arm:
    """The arm of one method, or of several added up.

    Settings are the defaults of each method's class, with these exceptions. TGD has ``alphas=(0.9, 0.1)`` and merges
    normalised maps, which on CIFAR-10 did better than the published values with a fitted view (docs/results.md). The
    weights of TGD's maps, SP and PKT are lowered with batches smaller than the published ones, because their terms, one
    entry a pair of pictures, grow as one over the batch. Those of AT and AMD are lowered for pictures below 32 x 32,
    because their terms grow as maps get smaller.

    Args:
        wish: "tgd", or "kd+at".
        size: height and width of the pictures.
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
    specs = tuple(_settings(name, table[name], size, batch_size) for name in wanted)
    needed = max(method.teachers_needed for method in as_methods(specs))
    return Arm(
        cross_entropy=0.1 if _REPLACES_LABELS & set(wanted) else 1.0,
        methods=specs,
        # A method may need any number; all but the first see persistence images.
        teachers=(IMAGE, *[TOPOLOGY] * (needed - 1)),
        start=ALONE if _STARTS_FROM_ALONE & set(wanted) else None,
    )


def _table() -> dict[str, type[Spec]]:
    public = {name: getattr(methods, name) for name in methods.__all__}
    return {
        name.lower(): found
        for name, found in public.items()
        if isinstance(found, type) and issubclass(found, Spec) and hasattr(found, "teachers_needed")
    }


def _settings(name: str, method: type[Spec], size: tuple[int, int], batch_size: int) -> Spec:
    area = min(1.0, size[0] * size[1] / _USUAL_AREA)
    if name in _PER_PAIR:
        field, weight, usual = _PER_PAIR[name]
        values = {field: _rounded(weight * min(1.0, batch_size / usual))}
        return method(**values, alphas=(0.9, 0.1), merge="normalised") if name == "tgd" else method(**values)
    if name == "at":
        return method(weight=_rounded(1000.0 * area))
    if name == "amd":
        return method(weight=_rounded(5000.0 * area**2))
    return method()


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
