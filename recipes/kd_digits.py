"""KD on handwritten digits: the smallest recipe, to start your own from.

    persistill run kd_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; half a minute on two cores.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import KD

recipe = Recipe(
    name="kd_digits",
    data=Data(source="digits"),
    teachers={"image": Teacher(model=Model(name="wrn-16-1"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9, temperature=4.0),), teachers=("image",)),
    },
    train=Train(epochs=10, batch_size=64, lr=0.1, schedule="one-cycle"),
)
