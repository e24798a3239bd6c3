"""The networks of a comparison, by the run folders that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from persistill import perturbations
from persistill.run_folder import RunFolder


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
        of_stored_views: names of the teachers that see a stored view, and not the image.
        similarity: whether it is wanted how alike students and their teachers are.
    """

    root: Path
    teachers: Mapping[str, Trained]
    students: Mapping[tuple[str, int], Trained]
    of_stored_views: frozenset[str] = frozenset()
    similarity: bool = True

    def measured(self, network: Trained) -> Path:
        """The folder of a network's evaluation."""
        return self.root / network.evaluation

    @property
    def first_of_each_arm(self) -> dict[str, Trained]:
        """Arm -> its student of the first seed."""
        first: dict[str, Trained] = {}
        for (arm, _), network in self.students.items():
            first.setdefault(arm, network)
        return first


def relative_corruption_error(networks: Networks, figure: str) -> dict[str, Any]:
    """Of every network that was shown corrupted images, by its run folder; the first arm's mean is the base.

    Args:
        networks: all of a comparison.
        figure: name of the figure that was measured under corruption.
    """

    def figures(network: Trained) -> Any:
        return RunFolder.open(networks.measured(network)).result()["metrics"]["corruptions"].get(figure)

    baseline, _ = next(iter(networks.students))
    base = [figures(network) for (arm, _), network in networks.students.items() if arm == baseline]
    if None in base:
        return {}
    mean = perturbations.mean_accuracies(base)
    measured = {network.run: figures(network) for network in (*networks.teachers.values(), *networks.students.values())}
    return {
        "baseline": baseline,
        "of": {
            name: perturbations.relative_corruption_error(own, mean)
            for name, own in measured.items()
            if own is not None
        },
    }
