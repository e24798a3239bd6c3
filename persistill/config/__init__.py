"""What a recipe says: checked, frozen settings."""

from persistill.config.data import Data
from persistill.config.evaluation import Evaluate, Published
from persistill.config.model import Model
from persistill.config.recipe import BEST, CLASSIFICATION, Arm, Recipe, Teacher
from persistill.config.train import Quantize, Train

__all__ = [
    "BEST",
    "CLASSIFICATION",
    "Arm",
    "Data",
    "Evaluate",
    "Model",
    "Published",
    "Quantize",
    "Recipe",
    "Teacher",
    "Train",
]
