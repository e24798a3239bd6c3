"""What can be told only once all networks of a comparison are measured: each student beside its teachers and rivals.

Evaluations have left their figures, predictions and embeddings in their folders; here they are set beside each other.
"""

from pathlib import Path
from typing import Any

from persistill.tasks.classification.embedding_maps import EMBEDDING_MAPS, store_embedding_maps
from persistill.tasks.classification.example_selection import keep_images
from persistill.tasks.classification.teacher_similarity import measure_similarity
from persistill.tasks.look import Look
from persistill.tasks.networks import Networks, relative_corruption_error
from persistill.utils.progress import Progress


def compare(networks: Networks, folder: Path, look: Look, progress: Progress) -> dict[str, Any]:
    """Set the networks of a comparison beside each other.

    Writes ``images.npz``, the test images that tell most, and ``embedding_maps.npz``, where networks lay images
    out, as ``docs/evaluation.md`` lists them.

    Args:
        networks: all of them.
        folder: the comparison's.
        look: gives test images, and what the teachers' views show of them.
        progress: told of what takes time.

    Returns:
        Plain JSON for the comparison's run folder: "relative_corruption_error", "likeness".
    """
    _keep_images(networks, folder, look)
    _map_embeddings(networks, folder, progress)
    return {
        "relative_corruption_error": relative_corruption_error(networks, "accuracy"),
        "likeness": _likeness(networks, progress) if networks.similarity else {},
    }


def _keep_images(networks: Networks, folder: Path, look: Look) -> None:
    measured = {name: networks.measured(teacher) for name, teacher in networks.teachers.items()}
    pairs = {
        (first, second): (measured[first], measured[second])
        for first in measured
        for second in measured
        if first not in networks.of_stored_views and second in networks.of_stored_views
    }
    students = [networks.measured(student) for student in networks.students.values()]
    keep_images(folder, students, pairs, look)


def _map_embeddings(networks: Networks, folder: Path, progress: Progress) -> None:
    """Of every teacher, and of the first seed of every arm."""
    shown = {
        network.run: networks.measured(network)
        for network in (*networks.teachers.values(), *networks.first_of_each_arm.values())
    }
    store_embedding_maps(shown, folder / EMBEDDING_MAPS, progress)


def _likeness(networks: Networks, progress: Progress) -> dict[str, dict[str, dict[str, float]]]:
    """Run folder of a student -> teacher name -> how alike the two are."""
    progress.start("likeness to the teachers", len(networks.students))
    found = {}
    for student in networks.students.values():
        found[student.run] = {
            name: measure_similarity(networks.measured(student), networks.measured(teacher))
            for name, teacher in networks.teachers.items()
        }
        progress.advance(1, student.run)
    progress.finish()
    return found
