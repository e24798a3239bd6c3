"""TopKD on CIFAR-100 by the protocol of the authors' code (Kim et al., ICML 2024), two pairs of networks.

    persistill reproduce topkd_cifar100:resnet-56_resnet-20 --device cuda
    persistill reproduce topkd_cifar100:wrn-40-2_shufflenet-v1 --device cuda
    persistill reproduce topkd_cifar100:resnet-56_resnet-20 --small

240 epochs, batches of 64, crops and flips; CE + 2 or 4 KD + 5 TopKD with a RipsNet trained on the teacher's embeddings
of 256 epochs of batches, as published; the same with exact persistence images; and the control that the paper lacks, KD
at the same weights and no topology. Days on two cores: meant for a GPU.
"""

from persistill.config import Arm, Data, Model, Published, Recipe, Teacher, Train
from persistill.losses import KD, TopKD
from persistill.losses.topkd.ripsnet import Pooling, Surrogate

IMAGE = ("image",)
SOURCE = "Training log in the repository of the authors (github.com/jekim5418/TopKD, commit 286b5f7)."
DIFFERENCES = (
    "Our teacher is trained here, once; the authors' are stronger than those of the usual tables; see the rows.",
    "5,000 training images are held out for validation here, and none there.",
    "The teacher is in evaluation mode while clouds are gathered; in the published code it is not.",
    "Distillation uses the published RipsNet recipe; its clouds come from batches drawn with another random generator.",
)


def pair(
    teacher: str, student: str, kd: float, lr: float, pooling: Pooling, published: tuple[Published, ...]
) -> Recipe:
    """The row of one pair of networks."""
    divergence = KD(weight=kd, temperature=4.0)
    return Recipe(
        name=f"topkd_cifar100_{teacher}_{student}",
        data=Data(
            source="uoft-cs/cifar100",
            label="fine_label",
            validation=5000,
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
        ),
        teachers={"image": Teacher(model=Model(name=teacher))},
        student=Model(name=student),
        arms={
            "alone": Arm(),
            "kd, no topology": Arm(methods=(divergence,), teachers=IMAGE),
            "topkd": Arm(methods=(divergence, TopKD.published(Surrogate(pooling=pooling))), teachers=IMAGE),
            "topkd exact": Arm(methods=(divergence, TopKD(weight=5.0)), teachers=IMAGE),
        },
        train=Train(
            epochs=240,
            batch_size=64,
            lr=lr,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="step",
            milestones=(150, 180, 210),
            gamma=0.1,
            augment=("crop", "flip"),
        ),
        published=published,
        small={
            "data.train": 10_000,
            "data.validation": 2_000,
            "train.epochs": 10,
            "train.schedule": "one-cycle",
            "arms.topkd.methods.1.surrogate.cloud_epochs": 32,
            "arms.topkd.methods.1.surrogate.epochs": 200,
        },
    )


recipes = {
    "resnet-56_resnet-20": pair(
        "resnet-56",
        "resnet-20",
        2.0,
        0.05,
        "mean",
        (
            Published(
                source=SOURCE,
                figures={"image": 0.7350, "topkd": 0.7166},
                chosen="last of 240 epochs (the best on the test images: 71.74)",
                differences=DIFFERENCES,
            ),
            Published(
                source="Re-run by Yeom and Jung (Persistent Cross Entropy), seed 7.",
                figures={"topkd": 0.7099},
                chosen="last of 240 epochs",
            ),
        ),
    ),
    "wrn-40-2_shufflenet-v1": pair(
        "wrn-40-2",
        "shufflenet-v1",
        4.0,
        0.01,
        "sum",
        (
            Published(
                source=SOURCE,
                figures={"image": 0.7664, "topkd": 0.7606},
                chosen="last of 240 epochs (the best on the test images: 76.40)",
                differences=DIFFERENCES,
            ),
        ),
    ),
}
