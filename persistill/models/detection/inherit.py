"""A student that begins with its teacher's pyramid and head."""

from persistill.errors import UserError
from persistill.models.detection.detector import Detector
from persistill.utils.units import first_few

_PARTS = ("backbone.fpn.", "head.", "rpn.", "roi_heads.")


def inherit_head(student: Detector, teacher: Detector) -> tuple[str, ...]:
    """Copy the weights of a teacher's feature pyramid and head, as FGD and MGD do before they train a student.

    A part of their published gain comes from this: report figures with and without it.

    Args:
        student: with a head of the same kind, width and classes.
        teacher: unchanged.

    Returns:
        Names of what starts from random weights, since its shape differs: the convolutions that bring the encoder's
        stages to the width of the pyramid, where encoders have other channels.

    Raises:
        UserError: if the heads differ in kind, width or classes.
    """
    theirs = {name: one for name, one in teacher.module.state_dict().items() if name.startswith(_PARTS)}
    ours = {name: one for name, one in student.module.state_dict().items() if name.startswith(_PARTS)}
    lateral = "backbone.fpn.inner_blocks."
    heads = [{name for name in part if not name.startswith("backbone.")} for part in (ours, theirs)]
    wrong = sorted(heads[0] ^ heads[1]) + sorted(
        name
        for name in ours.keys() & theirs.keys()
        if ours[name].shape != theirs[name].shape and not name.startswith(lateral)
    )
    if wrong:
        raise UserError(
            f"{student.name!r} cannot begin with the head of {teacher.name!r}: "
            f"they differ in {first_few(wrong, 1)}. Both need one kind of head, one width and the same classes."
        )
    taken = {name: one for name, one in theirs.items() if name in ours and ours[name].shape == one.shape}
    student.module.load_state_dict(taken, strict=False)
    return tuple(sorted(ours.keys() - taken.keys()))
