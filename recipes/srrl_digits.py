"""SRRL beside KD on handwritten digits.

    persistill run srrl_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; about two minutes on two cores.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import KD, SRRL

recipe = Recipe(
    name="srrl_digits",
    data=Data(source="digits"),
    teachers={"image": Teacher(model=Model(name="wrn-16-1"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9, temperature=4.0),), teachers=("image",)),
        "srrl": Arm(methods=(SRRL(),), teachers=("image",)),
    },
    train=Train(epochs=10, batch_size=64, lr=0.1, schedule="one-cycle"),
)
