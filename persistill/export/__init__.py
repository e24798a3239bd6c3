"""The student alone, as files that others can run, checked against the checkpoint."""

from persistill.export.delivery import TOLERANCE, export_student
from persistill.export.formats import FORMATS
from persistill.export.student import Student, load_student

__all__ = ["FORMATS", "TOLERANCE", "Student", "export_student", "load_student"]
