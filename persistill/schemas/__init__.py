"""What is believed of files that anybody may have written: names, types and ranges of their fields."""

from persistill.schemas.base import TEMPERATURES, check
from persistill.schemas.results import RESULTS, StoredStep
from persistill.schemas.run import LeftFiles, LogRecord, RunRecord, StoredRecipe, TrainedInputs
from persistill.schemas.student import ExportedStudent, StudentMetadata
from persistill.schemas.sweep import StoredSweep
from persistill.schemas.topkd import StoredCloudImages, StoredRipsNet

__all__ = [
    "RESULTS",
    "TEMPERATURES",
    "ExportedStudent",
    "LeftFiles",
    "LogRecord",
    "RunRecord",
    "StoredCloudImages",
    "StoredRecipe",
    "StoredRipsNet",
    "StoredStep",
    "StoredSweep",
    "StudentMetadata",
    "TrainedInputs",
    "check",
]
