"""Small recipes on images that are streamed, from every kind of source, as each process of a test runs them."""

import sys
from pathlib import Path

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Train
from persistill.data import splits_reader
from persistill.data.sources import row_groups
from persistill.pipeline import Pipeline
from persistill.pipeline.executors.follow import follow
from persistill.ranks import Ranks
from persistill.training.process_group import join

SIZE = {"size": (8, 8), "validation": 6, "test": 6}
KINDS = ("tar", "in place", "resized")


def stream() -> None:
    """Take images for too many for the memory, and row groups for large."""
    splits_reader.MEMORY_LIMIT, row_groups.BUFFER = 0, 4000


def recipe(root: Path, kind: str, **changes: object) -> Recipe:
    data = {
        "tar": {"source": str(root / "tar")},
        "in place": {"source": str(root / "parquet"), "parquet": "in_place"},
        "resized": {"source": str(root / "folder"), "cache": "resized"},
    }[kind]
    return Recipe(
        name="streamed",
        data=Data(**data, **SIZE, mean=(0.5,) * 3, std=(0.25,) * 3),
        student=Model(name="resnet-8"),
        arms={"alone": Arm()},
        train=Train(epochs=1, batch_size=8, lr=0.01, schedule="constant", augment=("flip",)),
        evaluate=Evaluate(noise=(), corruptions=(), attacks=()),
        **{"seeds": (0,), "formats": (), **changes},
    )


def train_all(root: Path, out: Path, ranks: Ranks) -> None:
    """Train one student on the images of each kind of source, together with the other ranks."""
    for kind in KINDS:

        def make(kind: str = kind) -> Pipeline:
            return Pipeline(recipe(root, kind), out / kind, device="cpu", ranks=ranks)

        if ranks.leads:
            pipeline = make()
            ranks.from_leader(pipeline.run_stage(pipeline.graph.students["alone", 0].folder_name).path)
        else:
            follow(make, ranks)


if __name__ == "__main__":
    stream()
    train_all(Path(sys.argv[1]), Path(sys.argv[2]), join("cpu"))
