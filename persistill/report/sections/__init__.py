"""The parts of the page. Each is one file with one function; a new part is a new line here, and a name in a task.

A function takes the comparison and gives its section, or a sentence that says why there is none.
"""

from collections.abc import Callable

from persistill.report.comparison import Comparison
from persistill.report.figure import Section
from persistill.report.sections.accuracy import accuracy
from persistill.report.sections.adversarial_ood import threats
from persistill.report.sections.calibration import calibration
from persistill.report.sections.class_ap import class_ap
from persistill.report.sections.class_iou import class_iou
from persistill.report.sections.class_scores import class_scores
from persistill.report.sections.confusion import confusion
from persistill.report.sections.corruptions import corruptions
from persistill.report.sections.cost import cost
from persistill.report.sections.detection_calibration import detection_calibration
from persistill.report.sections.detection_errors import detection_errors
from persistill.report.sections.detection_examples import detection_examples
from persistill.report.sections.embeddings import embeddings
from persistill.report.sections.gallery import gallery
from persistill.report.sections.hardest_images import hardest
from persistill.report.sections.noise import noise
from persistill.report.sections.only_topology import only_topology
from persistill.report.sections.precision_recall import precision_recall
from persistill.report.sections.published import published
from persistill.report.sections.reproducibility import repeat
from persistill.report.sections.segmentation_examples import segmentation_examples
from persistill.report.sections.selective import selective
from persistill.report.sections.significance import significance
from persistill.report.sections.similarity import similarity
from persistill.report.sections.size_ap import size_ap
from persistill.report.sections.teacher_similarity import likeness
from persistill.report.sections.training import training

SECTIONS: dict[str, Callable[[Comparison], Section | str]] = {
    "significance": significance,
    "accuracy": accuracy,
    "class_scores": class_scores,
    "class_iou": class_iou,
    "class_ap": class_ap,
    "size_ap": size_ap,
    "precision_recall": precision_recall,
    "detection_errors": detection_errors,
    "detection_examples": detection_examples,
    "segmentation_examples": segmentation_examples,
    "published": published,
    "cost": cost,
    "training": training,
    "calibration": calibration,
    "detection_calibration": detection_calibration,
    "selective": selective,
    "noise": noise,
    "corruptions": corruptions,
    "adversarial_ood": threats,
    "teacher_similarity": likeness,
    "similarity": similarity,
    "embeddings": embeddings,
    "confusion": confusion,
    "hardest_images": hardest,
    "gallery": gallery,
    "only_topology": only_topology,
    "reproducibility": repeat,
}
"""Name -> section. A task names those that it has, in order."""


def sections_of(comparison: Comparison) -> list[Section | str]:
    """The sections of a comparison's task, each made, or a sentence that says why there is none."""
    return [
        SECTIONS[name](comparison) if name in SECTIONS else f"{name}: this version has no such section."
        for name in comparison.task.sections
    ]


__all__ = ["SECTIONS", "sections_of"]
