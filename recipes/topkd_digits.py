"""TopKD on handwritten digits: exact, approximated as in the paper, and the control without topology.

    persistill run topkd_digits

1,797 gray images of 8x8 pixels that ship with scikit-learn; 400 for training, 100 for validation, 1,000 for the test.
Two minutes on two cores. All students get KD with the paper's weight: what TopKD adds is the difference from the arm
"kd". The RipsNet is fitted to far fewer point clouds than the paper's; its r_squared is in the preparation's
done.json.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import KD, TopKD
from persistill.losses.topkd.ripsnet import Surrogate

IMAGE = ("image",)
KD_OF_TOPKD = KD(weight=2.0, temperature=4.0)
SURROGATE = Surrogate(pooling="sum", cloud_epochs=128, lr=2e-3, epochs=200, patience=20)

recipe = Recipe(
    name="topkd_digits",
    data=Data(source="digits", train=500, validation=100, test=1000),
    teachers={"image": Teacher(model=Model(name="wrn-16-2"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(methods=(KD_OF_TOPKD,), teachers=IMAGE),
        "exact": Arm(methods=(KD_OF_TOPKD, TopKD()), teachers=IMAGE),
        "lifetimes": Arm(methods=(KD_OF_TOPKD, TopKD(compare="lifetimes", weight=0.5)), teachers=IMAGE),
        "published": Arm(methods=(KD_OF_TOPKD, TopKD.published(SURROGATE)), teachers=IMAGE),
    },
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle"),
    teacher_cache="exact",
)
