"""The settings of the explorer's persistence image: which fields it has, their ranges, and the published values."""

from typing import Any

from persistill.topology.persistence_image.fields import FIELDS, MIN_PERSISTENCE, PIXELS, WEIGHT

SETTINGS = ("bandwidth", "births", "persistences", "min_persistence", "weight")
"""The fields of ``PersistenceImageConfig`` that the page sets, beside one side of ``pixels``."""

CELLS = int(PIXELS.at_least or 1), 100
"""The fewest and the most pixels a side: a canvas shows no more."""


def explorer_fields() -> dict[str, Any]:
    """What the page fills its controls with, as plain JSON.

    Returns:
        ``published``: the settings of the TGD paper's code by name, and ``cells``, one side of its images;
        ``cells``: [fewest, most]; ``min_persistence``: the least that it may be; ``weights``: the allowed words.
    """
    return {
        "published": {**{name: FIELDS[name].default for name in SETTINGS}, "cells": PIXELS.default[0]},
        "cells": list(CELLS),
        "min_persistence": MIN_PERSISTENCE.at_least,
        "weights": list(WEIGHT.choices),
    }
