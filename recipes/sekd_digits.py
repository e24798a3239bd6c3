"""SEKD-style distillation on handwritten digits: its terms together and one by one, and with KD.

    persistill run sekd_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; 300 for training, 100 for validation, 1,000 for the test.
Two minutes on two cores. Masks are "relative" here: this teacher's feature map has a few strong channels, which masks
as published leave almost alone.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import KD, SEKD

IMAGE = ("image",)

recipe = Recipe(
    name="sekd_digits",
    data=Data(source="digits", train=400, validation=100, test=1000),
    teachers={"image": Teacher(model=Model(name="wrn-16-2"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9),), teachers=IMAGE),
        "vertices": Arm(methods=(SEKD(edge=0.0, spectral=0.0, masks="relative"),), teachers=IMAGE),
        "edges": Arm(methods=(SEKD(vertex=0.0, spectral=0.0, masks="relative"),), teachers=IMAGE),
        "spectrum": Arm(methods=(SEKD(vertex=0.0, edge=0.0, masks="relative"),), teachers=IMAGE),
        "sekd": Arm(methods=(SEKD(masks="relative"),), teachers=IMAGE),
        "sekd, all stages": Arm(methods=(SEKD(masks="relative", levels="all"),), teachers=IMAGE),
        "sekd+kd": Arm(cross_entropy=0.1, methods=(SEKD(masks="relative"), KD(weight=0.9)), teachers=IMAGE),
    },
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle"),
)
