"""TGD on handwritten digits with three rules for the weights of its teachers: fixed, by confidence, learned.

    persistill run tgd_weights_digits

The setting of tgd_digits: 300 training images, a teacher on images and one on persistence images. Each rule starts
from equal weights; fixed weights of 0.9 and 0.1, and the image teacher alone, are compared too. Three minutes on two
cores.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView
from persistill.losses import TGD, DistillationLoss, LearnedTGD, WeightedTGD

BOTH = ("image", "topology")


def arm(method: DistillationLoss, teachers: tuple[str, ...] = BOTH) -> Arm:
    """All arms differ in the weights of teachers alone."""
    return Arm(cross_entropy=0.1, methods=(method,), teachers=teachers, start="alone")


recipe = Recipe(
    name="tgd_weights_digits",
    data=Data(source="digits", train=400, validation=100, test=1000),
    views={"persistence": FittedPersistenceView(pixels=(16, 16), quantile=0.98)},
    teachers={
        "image": Teacher(model=Model(name="wrn-16-2")),
        "topology": Teacher(model=Model(name="wrn-16-2"), view="persistence"),
    },
    student=Model(name="wrn-10-1"),
    arms={
        "alone": Arm(),
        "image only": arm(TGD(similarity=300.0, alphas=(1.0,), merge="normalized"), ("image",)),
        "0.9 and 0.1": arm(TGD(similarity=300.0, alphas=(0.9, 0.1), merge="normalized")),
        "0.5 and 0.5": arm(TGD(similarity=300.0, alphas=(0.5, 0.5), merge="normalized")),
        "by confidence": arm(WeightedTGD(similarity=300.0, merge="normalized")),
        "by confidence, softer": arm(WeightedTGD(similarity=300.0, merge="normalized", confidence_temperature=4.0)),
        "learned": arm(LearnedTGD(similarity=300.0, merge="normalized")),
    },
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle", weight_decay=5e-4, channels_last=True),
)
