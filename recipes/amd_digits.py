"""AMD on handwritten digits: attention in angles, on the whole map, with its quadrants, and with KD.

    persistill run amd_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; 300 for training, 100 for validation, 1,000 for the test.
A minute on two cores. The default weight, 5000, is meant for feature maps of side 32; as with AT, smaller maps need
less. Here even 5000 / 16 outweighs the cross-entropy, and 30 was chosen on validation images.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import AMD, KD

recipe = Recipe(
    name="amd_digits",
    data=Data(source="digits", train=400, validation=100, test=1000),
    teachers={"image": Teacher(model=Model(name="wrn-16-1"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9),), teachers=("image",)),
        "amd": Arm(methods=(AMD(weight=30.0),), teachers=("image",)),
        "amd with quadrants": Arm(methods=(AMD(weight=30.0, local=0.2),), teachers=("image",)),
        "amd+kd": Arm(cross_entropy=0.1, methods=(AMD(weight=30.0), KD(weight=0.9)), teachers=("image",)),
    },
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle"),
)
