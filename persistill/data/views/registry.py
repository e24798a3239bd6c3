"""The views that a recipe can name."""

from persistill.data.views.base import View
from persistill.data.views.betti_curves import BettiCurveView
from persistill.data.views.cubical import CubicalView
from persistill.data.views.landscapes import LandscapeView
from persistill.data.views.persistence_image import FittedPersistenceView, PersistenceView
from persistill.utils.registry import Registry

VIEWS: Registry[View] = Registry(
    "view",
    {
        "persistence": PersistenceView,
        "fitted_persistence": FittedPersistenceView,
        "cubical": CubicalView,
        "landscapes": LandscapeView,
        "betti_curves": BettiCurveView,
    },
    base=View,
    contract="A view is a subclass of persistill.data.View with shape() and compute().",
)
"""A recipe's ``views`` hold one of these names (with default settings), an object of one of these classes or of a
subclass of ``View`` of one's own, or "package.module:Name" of such."""
