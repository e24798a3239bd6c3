"""Methods of ``persistill distill`` for detectors: what each name stands for, and with which weights."""

from collections.abc import Callable, Mapping
from functools import partial

from persistill import losses
from persistill.losses import AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.detection import FGD, MGD, PKD, BoxFeature, DenseDIST, DenseKD, OnLevels

Suggest = Callable[[AutoconfigContext], Suggestion]
"""What is suggested for some images."""

_FOR_DETECTORS: Mapping[str, Suggest] = {
    "kd": DenseKD.autoconfig,
    "dist": DenseDIST.autoconfig,
    "pkd": PKD.autoconfig,
    "fgd": FGD.autoconfig,
    "mgd": MGD.autoconfig,
    "boxfeature": lambda _: Suggestion(BoxFeature(objects=0.05, background=0.05)),
}
_WEIGHTS: Mapping[str, float] = {"at": 200.0, "amd": 250.0, "fitnet": 0.1}
"""On levels. Those of classification are for maps of one size behind a normalization. Levels have none, so that
squared differences of them are large, and the coarsest have a handful of places. With these a term begins at one to
twice the detector's own losses, where a student from random weights meets a trained teacher."""


def level_methods() -> dict[str, Suggest]:
    """Name in lower case -> how it is used between detectors.

    Those made for detectors, of which "kd" and "dist" stand for their dense forms; and on levels all that read feature
    maps of one teacher and nothing else.
    """
    table = dict(_FOR_DETECTORS)
    for public in losses.__all__:
        loss = getattr(losses, public)
        if isinstance(loss, type) and issubclass(loss, DistillationLoss) and _reads_maps_alone(loss):
            table.setdefault(public.lower(), partial(_on_levels, loss))
    return table


def _reads_maps_alone(loss: type[DistillationLoss]) -> bool:
    if loss.required_outputs != {"feature_maps"} or loss.num_teachers != 1:
        return False
    return not loss.autoconfig(AutoconfigContext((64, 64), 8, 3)).before_others


def _on_levels(loss: type[DistillationLoss], context: AutoconfigContext) -> Suggestion:
    made = loss.autoconfig(context).loss
    weight = _WEIGHTS.get(loss.__name__.lower())
    return Suggestion(OnLevels(loss=made if weight is None else made.with_value("weight", weight)))
