"""AT on handwritten digits: the student learns the attention maps of its teacher, without and with KD.

    persistill run at_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; half a minute on two cores. The usual weight of AT,
1000, is meant for feature maps of side 32. Its term is a mean over positions of unit vectors, so maps with 16 times
fewer positions need a weight 16 times smaller.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import AT, KD

recipe = Recipe(
    name="at_digits",
    data=Data(source="digits"),
    teachers={"image": Teacher(model=Model(name="wrn-16-1"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "at": Arm(methods=(AT(weight=1000.0 / 16),), teachers=("image",)),
        "at+kd": Arm(cross_entropy=0.1, methods=(AT(weight=1000.0 / 16), KD(weight=0.9)), teachers=("image",)),
    },
    train=Train(epochs=10, batch_size=64, lr=0.1, schedule="one-cycle"),
)
