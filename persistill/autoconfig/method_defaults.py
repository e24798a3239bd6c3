"""From the name of a method to an arm of a recipe: settings, teachers, weight of the labels, start."""

from collections.abc import Callable, Mapping

from persistill import losses
from persistill.config import CLASSIFICATION, Arm
from persistill.errors import UserError, unknown
from persistill.losses import AutoconfigContext, DistillationLoss, Suggestion

ALONE = "alone"
"""The arm without a teacher, with which all others are compared."""
IMAGE, TOPOLOGY = "image", "topology"
"""Teachers: the one that was asked for, and one of persistence images for methods that need a second."""


def names() -> tuple[str, ...]:
    """Names of all methods of the package, in lower case, sorted."""
    return tuple(sorted(all_methods()))


def make_arms(
    wish: str,
    size: tuple[int, int],
    batch_size: int,
    num_classes: int,
    known: Mapping[str, Callable[[AutoconfigContext], Suggestion]] | None = None,
    task: str = CLASSIFICATION,
) -> dict[str, Arm]:
    """The arm of one method, or of several added up, under the name of the wish.

    What suits the images, each method's own class says (``DistillationLoss.autoconfig``). The labels keep the least
    share that one of the methods leaves them. Methods that come before the others get an arm of their own, from which
    that of the wish starts.

    Args:
        wish: "tgd", or "kd+at".
        size: height and width of the images.
        batch_size: of the student's training.
        num_classes: that networks tell apart.
        known: the methods of the task, name in lower case -> how it is used; None for those of classification.
        task: what they are for, in messages.

    Raises:
        UserError: if there is no such method, with the near names, or one is named twice.
    """
    wanted = [name.strip().lower() for name in wish.split("+")]
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--method {wish} names a method twice; name each of them once.")
    table = all_methods() if known is None else known
    for name in wanted:
        if name not in table:
            what = "method" if task == CLASSIFICATION else f"method of {task}"
            raise unknown(what, name, table, "Several are added up with a plus: kd+at.")
    name = "+".join(wanted)
    context = AutoconfigContext(size, batch_size, num_classes)
    suggestions = [table[one](context) for one in wanted]
    first = tuple(suggestion.loss for suggestion in suggestions if suggestion.before_others)
    summed = [suggestion for suggestion in suggestions if not suggestion.before_others]
    methods = tuple(suggestion.loss for suggestion in summed)
    arms, start = {}, ALONE if any(suggestion.after_baseline for suggestion in summed) else None
    if first:
        start = f"{name} start"
        arms[start] = Arm(cross_entropy=0.0, methods=first, teachers=_teachers(first))
    arms[name] = Arm(
        cross_entropy=min((suggestion.cross_entropy for suggestion in summed), default=1.0),
        methods=methods,
        teachers=_teachers(methods),
        start=start,
    )
    return arms


def _teachers(methods: tuple[DistillationLoss, ...]) -> tuple[str, ...]:
    """A method may need any number; all but the first see persistence images."""
    needed = max((method.num_teachers for method in methods), default=0)
    return (IMAGE, *[TOPOLOGY] * (needed - 1)) if needed else ()


def all_methods() -> dict[str, Callable[[AutoconfigContext], Suggestion]]:
    """All methods of the package, name in lower case -> how it is used where images have one class."""
    public = {name: getattr(losses, name) for name in losses.__all__}
    return {
        name.lower(): found.autoconfig
        for name, found in public.items()
        if isinstance(found, type) and issubclass(found, DistillationLoss) and found is not DistillationLoss
    }
