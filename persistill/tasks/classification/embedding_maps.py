"""The maps of several networks' embeddings, of the same test images, from what their evaluations left."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from persistill.data import stratified
from persistill.errors import UserError
from persistill.metrics.embedding_projection import embedding_map, turned
from persistill.tasks.classification.teacher_similarity import Stored
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress

EMBEDDING_MAPS = "embedding_maps.npz"
MAPPED = 1000
"""Images on a map."""


def store_embedding_maps(evaluations: Mapping[str, Path], path: Path, progress: Progress) -> None:
    """Map the embeddings of networks, and store the maps.

    All maps show the same images, of which every class keeps its share. Each is made of its own network's embedding
    alone, and then turned onto the first (``turned``), so that maps can be compared by eye.

    Args:
        evaluations: name of a network -> folder of its evaluation; all of the same test images.
        path: where the maps go: an npz file with "rows" (n,), which rows of ``predictions.npz`` the images are, in an
            order by lot; "target" (n,), their classes; and of every network "map_<name>" (n, 2) and "answer_<name>"
            (n,), the class that it names.
        progress: advanced by one for each network.

    Raises:
        UserError: if they were not measured on the same images.
    """
    progress.start("embedding maps", len(evaluations))
    base = next(iter(evaluations.values()))
    one = Stored.of(base)
    random = np.random.default_rng(0)
    target = one.target[one.rows].numpy()
    places = random.permutation(stratified(target, min(MAPPED, len(target)), random))
    rows = one.rows[places]
    found = {"rows": rows.numpy(), "target": target[places]}
    first = None
    for name, folder in evaluations.items():
        stored = Stored.of(folder)
        if not stored.on_the_images_of(one):
            raise UserError(
                f"{base} and {folder} hold answers to different images: evaluate both networks on the same data, "
                "with the same settings."
            )
        points = embedding_map(stored.embedding[places])
        first = points if first is None else first
        found[f"map_{name}"] = turned(points, first).numpy()
        found[f"answer_{name}"] = stored.logits[rows].argmax(1).numpy()
        progress.advance(1, name)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **found)
    progress.finish()
