"""A recipe for somebody who has images and two networks, and does not want to write one."""

from persistill.autoconfig.build_recipe import Chosen, make_recipe
from persistill.autoconfig.initial_weights import Initial, Role, look_at_initial
from persistill.autoconfig.method_defaults import names
from persistill.autoconfig.options import DEFAULT_METHOD, Options
from persistill.autoconfig.task_defaults import choose_size, defaults_of, guess_task
from persistill.autoconfig.teacher_checkpoint import TeacherCheckpoint, TeacherTrial, look_at_weights, try_teacher
from persistill.autoconfig.to_command import as_command
from persistill.autoconfig.to_python import as_python

__all__ = [
    "DEFAULT_METHOD",
    "Chosen",
    "Initial",
    "Options",
    "Role",
    "TeacherCheckpoint",
    "TeacherTrial",
    "as_command",
    "as_python",
    "choose_size",
    "defaults_of",
    "guess_task",
    "look_at_initial",
    "look_at_weights",
    "make_recipe",
    "names",
    "try_teacher",
]
