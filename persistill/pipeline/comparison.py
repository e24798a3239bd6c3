"""What can be told only once all networks of a comparison are measured: each student beside its teachers and rivals.

Evaluations have left their figures, predictions and embeddings in their folders; here they are set beside each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from persistill import evaluation, perturbations
from persistill.run_folder import RunFolder
from persistill.utils.progress import Progress


class Trained(NamedTuple):
    """A trained network, by the names of its run folders.

    Attributes:
        run: of its training.
        evaluation: of its evaluation.
    """

    run: str
    evaluation: str


@dataclass(frozen=True)
class Networks:
    """All networks of a comparison, trained and evaluated.

    Attributes:
        root: where the run folders lie.
        teachers: by name.
        students: by arm and seed; the arm of the first is the baseline.
        views: teacher's name -> what it sees, "image" for images.
    """

    root: Path
    teachers: Mapping[str, Trained]
    students: Mapping[tuple[str, int], Trained]
    views: Mapping[str, str]

    def measured(self, network: Trained) -> Path:
        """The folder of a network's evaluation."""
        return self.root / network.evaluation


def compare(networks: Networks, folder: Path, look: evaluation.Look, progress: Progress) -> dict[str, Any]:
    """Set the networks of a comparison beside each other.

    Writes ``images.npz``, the test images that tell most, and ``embedding_maps.npz``, where networks lay images
    out, as ``docs/evaluation.md`` lists them.

    Args:
        networks: all of them.
        folder: the comparison's.
        look: gives test images, and what the teachers' views show of them.
        progress: told of what takes time.

    Returns:
        Plain JSON for the comparison's run folder: "teachers" and "rows" (which networks there are, and where),
        "relative_corruption_error", "likeness".
    """
    _keep_images(networks, folder, look)
    _map_embeddings(networks, folder, progress)
    return {
        "teachers": {name: network._asdict() for name, network in networks.teachers.items()},
        "rows": [{"arm": arm, "seed": seed, **network._asdict()} for (arm, seed), network in networks.students.items()],
        "relative_corruption_error": _relative_corruption_error(networks),
        "likeness": _likeness(networks, progress),
    }


def _keep_images(networks: Networks, folder: Path, look: evaluation.Look) -> None:
    measured = {name: networks.measured(teacher) for name, teacher in networks.teachers.items()}
    pairs = {
        (first, second): (measured[first], measured[second])
        for first in measured
        for second in measured
        if networks.views[first] == "image" != networks.views[second]
    }
    students = [networks.measured(student) for student in networks.students.values()]
    evaluation.keep_images(folder, students, pairs, look)


def _map_embeddings(networks: Networks, folder: Path, progress: Progress) -> None:
    """Of every teacher, and of the first seed of every arm."""
    first: dict[str, Trained] = {}
    for (arm, _), network in networks.students.items():
        first.setdefault(arm, network)
    shown = {network.run: networks.measured(network) for network in (*networks.teachers.values(), *first.values())}
    evaluation.store_embedding_maps(shown, folder / evaluation.EMBEDDING_MAPS, progress)


def _likeness(networks: Networks, progress: Progress) -> dict[str, dict[str, dict[str, float]]]:
    """Run folder of a student -> teacher name -> how alike the two are."""
    progress.start("likeness to the teachers", len(networks.students))
    found = {}
    for student in networks.students.values():
        found[student.run] = {
            name: evaluation.measure_similarity(networks.measured(teacher), networks.measured(student))
            for name, teacher in networks.teachers.items()
        }
        progress.advance(1, student.run)
    progress.finish()
    return found


def _relative_corruption_error(networks: Networks) -> dict[str, Any]:
    """Of every network that was shown corrupted images, by its run folder; the first arm's mean is the base."""

    def accuracies(network: Trained) -> Any:
        return RunFolder.open(networks.measured(network)).result()["metrics"]["corruptions"].get("accuracy")

    baseline, _ = next(iter(networks.students))
    base = [accuracies(network) for (arm, _), network in networks.students.items() if arm == baseline]
    if None in base:
        return {}
    mean = perturbations.mean_accuracies(base)
    measured = {
        network.run: accuracies(network) for network in (*networks.teachers.values(), *networks.students.values())
    }
    return {
        "baseline": baseline,
        "of": {
            name: perturbations.relative_corruption_error(own, mean)
            for name, own in measured.items()
            if own is not None
        },
    }
