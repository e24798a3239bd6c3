"""AMD on CIFAR-10, WRN-16-3 to WRN-16-1, in the protocol of the same group's TGD code (Jeon et al. 2023, 2302.14130).

    persistill run amd_cifar10 --device cuda
    persistill run amd_cifar10 --small

Only the loss is published; layers, weights and training are those of the authors' other code (see docs/methods/amd.md).
No table of the paper was available, so there is no published figure to compare with. 200 epochs, no
augmentation. Arms: the student alone, KD, AMD (global), and AMD with a fifth of local quadrants.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import AMD, KD

IMAGE = ("image",)
DIVERGENCE = KD(weight=0.9, temperature=4.0)

recipe = Recipe(
    name="amd_cifar10",
    data=Data(source="uoft-cs/cifar10", validation=500, mean=(0.507, 0.487, 0.441), std=(0.267, 0.256, 0.276)),
    teachers={"image": Teacher(model=Model(name="wrn-16-3"))},
    student=Model(name="wrn-16-1"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(DIVERGENCE,), teachers=IMAGE),
        "amd": Arm(cross_entropy=0.1, methods=(DIVERGENCE, AMD(weight=5000.0)), teachers=IMAGE),
        "amd, global and local": Arm(
            cross_entropy=0.1, methods=(DIVERGENCE, AMD(weight=5000.0, local=0.2)), teachers=IMAGE
        ),
    },
    teacher_cache="half",
    train=Train(epochs=200, batch_size=128, lr=0.1, weight_decay=1e-4, milestones=(40, 80, 120, 160), gamma=0.2),
    small={
        "data.train": 10_000,
        "data.validation": 2_000,
        "teachers.image.model.name": "wrn-16-2",
        "train.epochs": 12,
        "train.schedule": "one-cycle",
        "train.weight_decay": 5e-4,
        "train.channels_last": True,
    },
)
