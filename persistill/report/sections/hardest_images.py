"""The images on which students do worst, with the answers of all networks."""

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.example_images import cases, kept_images, standing
from persistill.report.figure import Section

_FEW = 2  # students that are not worth folding away


def hardest(comparison: Comparison) -> Section | str:
    """A card for each of the hardest images; most students are folded away."""
    students = [arm for arm in comparison.arms if arm.runs]
    if not students:
        return "The hardest images: no run of this comparison is complete."
    always = (*(teacher for teacher in comparison.teachers if teacher.runs), *standing(comparison))
    folded = [arm for arm in students if arm not in always]
    if len(folded) <= _FEW:
        always, folded = (*always, *folded), []
    try:
        kept = kept_images(comparison)
        found = cases(comparison, kept, kept.chosen("hardest"), always, folded)
    except (UserError, ValueError) as error:
        return f"The hardest images: {error}"
    if not found:
        return "The hardest images: no student's answers are finite."
    return Section(
        name="hardest",
        title="The hardest images",
        text=(
            f"The {len(found)} test images on which the students do worst: those of the largest mean negative "
            "log-likelihood of the labeled class, over all arms and seeds. Answers are the teachers' and, of each "
            "arm, those of its first seed; beside them stands how sure the network is of its answer, and what "
            "probability it leaves to the label. An image that all networks get wrong may be hard; or its label is "
            "wrong, or one of several that fit. Test images are numbered from 0."
        ),
        template="hardest.html",
        content={"cases": found},
    )
