"""A recipe with every kind of figure, on thirty images, and its run."""

from pathlib import Path

from persistill.config import Arm, Data, Evaluate, Model, Published, Recipe, Teacher, Train
from persistill.losses import KD
from persistill.pipeline import Pipeline

RECIPE = Recipe(
    name="tiny",
    data=Data(source="digits", train=60, validation=20, test=30),
    teachers={"image": Teacher(model=Model(name="resnet-8"))},
    student=Model(name="resnet-8"),
    arms={"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("image",))},
    train=Train(epochs=1, batch_size=30, lr=0.05, schedule="constant"),
    evaluate=Evaluate(
        noise=(0.1,),
        corruptions=("fog",),
        corruption_images=5,
        attacks=(2.0,),
        attack_images=5,
        ood="digits",
        ood_images=9,
    ),
    teacher_cache="exact",
    seeds=(0, 1),
    published=(Published(source="nowhere", figures={"kd": 0.5}, chosen="last epoch"),),
)


def run(root: Path) -> None:
    """Run it, or go through it again."""
    Pipeline(RECIPE, root, device="cpu", command="persistill run tiny").run()
