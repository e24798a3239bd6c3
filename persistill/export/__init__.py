"""The student alone, as files that others can run, checked against the checkpoint."""

from persistill.export.exporter import TOLERANCE, export_student
from persistill.export.formats import FORMATS
from persistill.export.predictor import ClassProbability, Prediction, Predictor
from persistill.export.student import Student, load_student
from persistill.export.temperature import fitted_temperature

__all__ = [
    "FORMATS",
    "TOLERANCE",
    "ClassProbability",
    "Prediction",
    "Predictor",
    "Student",
    "export_student",
    "fitted_temperature",
    "load_student",
]
