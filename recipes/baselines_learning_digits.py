"""The baselines with trainable modules compared on handwritten digits, with the usual weights.

    persistill run baselines_learning_digits

Images, networks and training are those of baselines_digits, so that the arms of both can be compared. Three minutes
on two cores. The recipe shows that they run and what each costs, not which of them is best on real images. Weights are
the usual ones; CRD draws fewer negatives, because there are only 300 images.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import AB, CC, CRD, ICKD, VID, FitNet, ReviewKD

IMAGE = ("image",)

recipe = Recipe(
    name="baselines_learning_digits",
    data=Data(source="digits", train=400, validation=100, test=1000),
    teachers={"image": Teacher(model=Model(name="wrn-16-2"))},
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "fitnet": Arm(methods=(FitNet(weight=100.0),), teachers=IMAGE),
        "reviewkd": Arm(methods=(ReviewKD(weight=5.0),), teachers=IMAGE),
        "vid": Arm(methods=(VID(weight=1.0),), teachers=IMAGE),
        "ickd": Arm(methods=(ICKD(weight=2.5),), teachers=IMAGE),
        "crd": Arm(methods=(CRD(weight=0.8, negatives=256),), teachers=IMAGE),
        "cc": Arm(methods=(CC(weight=0.02),), teachers=IMAGE),
        "cc, kernel": Arm(methods=(CC(weight=100.0, form="kernel"),), teachers=IMAGE),
        "boundaries": Arm(cross_entropy=0.0, methods=(AB(weight=0.003),), teachers=IMAGE),
        "ab": Arm(start="boundaries"),
    },
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle"),
)
