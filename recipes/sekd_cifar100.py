"""SEKD-style distillation on CIFAR-100, WRN-40-2 to WRN-16-2, in the usual protocol of the field.

    persistill run sekd_cifar100 --device cuda
    persistill run sekd_cifar100 --small

No figures of the paper were available, and its text only outlines the loss (docs/methods/sekd.md says which parts are
interpretations), so there is no published figure to compare with. The most similar published method, ICKD-C, is one of
the arms.
240 epochs, batches of 64, crops and flips.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import ICKD, KD, SEKD

IMAGE = ("image",)
DIVERGENCE = KD(weight=1.0, temperature=4.0)

recipe = Recipe(
    name="sekd_cifar100",
    data=Data(
        source="uoft-cs/cifar100",
        label="fine_label",
        validation=5000,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
    teachers={"image": Teacher(model=Model(name="wrn-40-2"))},
    student=Model(name="wrn-16-2"),
    arms={
        "alone": Arm(),
        "kd": Arm(methods=(DIVERGENCE,), teachers=IMAGE),
        "ickd": Arm(methods=(DIVERGENCE, ICKD(weight=2.5)), teachers=IMAGE),
        "sekd": Arm(methods=(SEKD(),), teachers=IMAGE),
        "sekd and kd": Arm(methods=(DIVERGENCE, SEKD()), teachers=IMAGE),
    },
    train=Train(
        epochs=240,
        batch_size=64,
        lr=0.05,
        weight_decay=5e-4,
        schedule="step",
        milestones=(150, 180, 210),
        gamma=0.1,
        augment=("crop", "flip"),
    ),
    small={
        "data.train": 10_000,
        "data.validation": 2_000,
        "teachers.image.model.name": "wrn-16-4",
        "train.epochs": 10,
        "train.schedule": "one-cycle",
    },
)
