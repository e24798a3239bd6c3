"""The parts of the page, in order. Each is one file with one function; a new part is a new line here.

A function takes the comparison and gives its section, or a sentence that says why there is none.
"""

from collections.abc import Callable

from persistill.report.comparison import Comparison
from persistill.report.figure import Section
from persistill.report.sections.accuracy import accuracy
from persistill.report.sections.adversarial_ood import threats
from persistill.report.sections.calibration import calibration
from persistill.report.sections.confusion import confusion
from persistill.report.sections.corruptions import corruptions
from persistill.report.sections.cost import cost
from persistill.report.sections.embeddings import embeddings
from persistill.report.sections.gallery import gallery
from persistill.report.sections.hardest_images import hardest
from persistill.report.sections.noise import noise
from persistill.report.sections.only_topology import only_topology
from persistill.report.sections.published import published
from persistill.report.sections.reproducibility import repeat
from persistill.report.sections.selective import selective
from persistill.report.sections.significance import significance
from persistill.report.sections.similarity import similarity
from persistill.report.sections.teacher_similarity import likeness
from persistill.report.sections.training import training

SECTIONS: tuple[Callable[[Comparison], Section | str], ...] = (
    significance,
    accuracy,
    published,
    cost,
    training,
    calibration,
    selective,
    noise,
    corruptions,
    threats,
    likeness,
    similarity,
    embeddings,
    confusion,
    hardest,
    gallery,
    only_topology,
    repeat,
)

__all__ = ["SECTIONS"]
