"""The student alone, as files that others can run, checked against the checkpoint."""

from persistill.exporters.detector_student import DetectorStudent
from persistill.exporters.export_task import CLASSIFY, ExportTask
from persistill.exporters.exporter import check_formats, export_student
from persistill.exporters.formats import FORMATS, as_outputs
from persistill.exporters.logits import TOLERANCE
from persistill.exporters.output_kind import OutputKind
from persistill.exporters.standalone_script import standalone_script
from persistill.exporters.student import Student, as_student, load_student
from persistill.exporters.temperature import fitted_temperature

__all__ = [
    "CLASSIFY",
    "FORMATS",
    "TOLERANCE",
    "DetectorStudent",
    "ExportTask",
    "OutputKind",
    "Student",
    "as_outputs",
    "as_student",
    "check_formats",
    "export_student",
    "fitted_temperature",
    "load_student",
    "standalone_script",
]
