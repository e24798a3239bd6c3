"""The baselines compared on handwritten digits, each added to the cross-entropy alone, with the usual weights.

    persistill run baselines_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; 300 for training, 100 for validation, 1,000 for the
test. Three minutes on two cores. The recipe shows that they run and what each costs, not which of them is best on real
images. Weights are the usual ones, except for AT and AMD, whose terms grow as feature maps get smaller (see their
pages). Methods with trainable modules are in baselines_learning_digits.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import AMD, AT, DIST, DKD, KD, NST, PKT, RKD, SP, AveragedKD

IMAGE = ("image",)

recipe = Recipe(
    name="baselines_digits",
    data=Data(source="digits", train=400, validation=100, test=1000),
    teachers={"image": Teacher(model=Model(name="wrn-16-2")), "other": Teacher(model=Model(name="resnet-20"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9),), teachers=IMAGE),
        "standardized kd": Arm(
            cross_entropy=0.1, methods=(KD(weight=9.0, temperature=2.0, standardize=True),), teachers=IMAGE
        ),
        "averaged kd": Arm(cross_entropy=0.1, methods=(AveragedKD(weight=0.9),), teachers=("image", "other")),
        "dkd": Arm(methods=(DKD(alpha=1.0, beta=8.0),), teachers=IMAGE),
        "dist": Arm(methods=(DIST(inter=2.0, intra=2.0),), teachers=IMAGE),
        "at": Arm(methods=(AT(weight=1000.0 / 16),), teachers=IMAGE),
        "amd": Arm(methods=(AMD(weight=30.0),), teachers=IMAGE),
        "nst": Arm(methods=(NST(weight=50.0),), teachers=IMAGE),
        "sp": Arm(methods=(SP(weight=3000.0),), teachers=IMAGE),
        "pkt": Arm(methods=(PKT(weight=30000.0),), teachers=IMAGE),
        "rkd": Arm(methods=(RKD(distance=25.0, angle=50.0),), teachers=IMAGE),
    },
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle"),
)
