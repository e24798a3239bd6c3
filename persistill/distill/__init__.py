"""A recipe for somebody who has pictures and two networks, and does not want to write one."""

from persistill.distill.arms import names
from persistill.distill.given import Given, look_at_weights, try_teacher
from persistill.distill.options import Options
from persistill.distill.python import as_python
from persistill.distill.recipe import Chosen, choose_size, make_recipe
from persistill.distill.starts import Initial, Role, look_at_initial

__all__ = [
    "Chosen",
    "Given",
    "Initial",
    "Options",
    "Role",
    "as_python",
    "choose_size",
    "look_at_initial",
    "look_at_weights",
    "make_recipe",
    "names",
    "try_teacher",
]
