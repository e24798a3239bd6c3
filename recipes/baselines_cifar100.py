"""The usual table of baselines on CIFAR-100: thirteen pairs of networks, all methods of the table, the usual weights.

    persistill reproduce baselines_cifar100:resnet-56_resnet-20 --device cuda
    persistill reproduce baselines_cifar100:wrn-40-2_wrn-16-2 --small --seeds 0

The protocol is that of the table of Tian et al. (Contrastive Representation Distillation, 2020) and those that
continue it: 240 epochs, batches of 64, SGD with 0.05 (0.01 for MobileNetV2 and ShuffleNets), divided by 10 after 150,
180 and 210 epochs, crops and flips, weights as published there. Every method but KD is added to the cross-entropy
alone, as there.
"""

from persistill.config import Arm, Data, Model, Published, Recipe, Teacher, Train
from persistill.losses import AT, CC, CRD, DKD, ICKD, KD, PKT, RKD, SP, VID, FitNet

IMAGE = ("image",)
ARMS = {
    "alone": Arm(),
    "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9, temperature=4.0),), teachers=IMAGE),
    "fitnet": Arm(methods=(FitNet(weight=100.0),), teachers=IMAGE),
    "at": Arm(methods=(AT(weight=1000.0),), teachers=IMAGE),
    "sp": Arm(methods=(SP(weight=3000.0),), teachers=IMAGE),
    "cc": Arm(methods=(CC(weight=0.02),), teachers=IMAGE),
    "vid": Arm(methods=(VID(weight=1.0),), teachers=IMAGE),
    "rkd": Arm(methods=(RKD(distance=25.0, angle=50.0),), teachers=IMAGE),
    "pkt": Arm(methods=(PKT(weight=30000.0),), teachers=IMAGE),
    "crd": Arm(methods=(CRD(weight=0.8),), teachers=IMAGE),
    "ickd": Arm(methods=(KD(weight=1.0, temperature=4.0), ICKD(weight=2.5)), teachers=IMAGE),
    "dkd": Arm(methods=(DKD(alpha=1.0, beta=8.0),), teachers=IMAGE),
}
DIFFERENCES = (
    "5,000 training images are held out for validation here, and none there; ours are of the last epoch.",
    "Teachers are trained here, from one seed; the table's are those released with it.",
    "DKD's weights differ from pair to pair in its publication; here they are alpha 1 and beta 8 for all.",
)
SLOW = ("mobilenet", "shufflenet")


def pair(teacher: str, student: str, *accuracies: float | None) -> Recipe:
    """One column of the table: accuracies in percent, of the teacher and then of all arms; None where it has none."""
    published = {
        name: round(value / 100, 4)
        for name, value in zip(("image", *ARMS), accuracies, strict=True)
        if value is not None
    }
    return Recipe(
        name=f"baselines_cifar100_{teacher}_{student}",
        data=Data(
            source="uoft-cs/cifar100",
            label="fine_label",
            validation=5000,
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
        ),
        teachers={"image": Teacher(model=Model(name=teacher), train=training(0.05))},
        student=Model(name=student),
        arms=ARMS,
        train=training(0.01 if student.startswith(SLOW) else 0.05),
        published=(
            Published(
                source="RepDistiller's table (Tian et al. 2020); DKD and ICKD from their authors' repositories.",
                figures=published,
                chosen="means over several runs; how their epochs were chosen is not said",
                differences=DIFFERENCES,
            ),
        ),
        export="kd",
        small={
            "data.train": 10_000,
            "data.validation": 2_000,
            "train.epochs": 10,
            "train.schedule": "one-cycle",
            "teachers.image.train": None,
        },
    )


def training(lr: float) -> Train:
    """Of teachers and students."""
    return Train(
        epochs=240,
        batch_size=64,
        lr=lr,
        weight_decay=5e-4,
        schedule="step",
        milestones=(150, 180, 210),
        gamma=0.1,
        augment=("crop", "flip"),
    )


# Accuracies in percent: the teacher's, then those of the arms in their order; None where the table has none.
# fmt: off
COLUMNS = {
    ("wrn-40-2", "wrn-16-2"): (
        75.61, 73.26, 74.92, 73.58, 74.08, 73.83, 73.56, 74.11, 73.35, 74.54, 75.48, 75.57, 76.23,
    ),
    ("wrn-40-2", "wrn-40-1"): (
        75.61, 71.98, 73.54, 72.24, 72.77, 72.43, 72.21, 73.30, 72.22, 73.45, 74.14, 74.63, 74.81,
    ),
    ("resnet-56", "resnet-20"): (
        72.34, 69.06, 70.66, 69.21, 70.55, 69.67, 69.63, 70.38, 69.61, 70.34, 71.16, 71.69, 71.97,
    ),
    ("resnet-110", "resnet-20"): (
        74.31, 69.06, 70.67, 68.99, 70.22, 70.04, 69.48, 70.16, 69.25, 70.25, 71.46, 71.91, None,
    ),
    ("resnet-110", "resnet-32"): (
        74.31, 71.14, 73.08, 71.06, 72.31, 72.69, 71.48, 72.61, 71.82, 72.61, 73.48, 74.11, 74.11,
    ),
    ("resnet-32x4", "resnet-8x4"): (
        79.42, 72.50, 73.33, 73.50, 73.44, 72.94, 72.97, 73.09, 71.90, 73.64, 75.51, 75.48, 76.32,
    ),
    ("vgg-13", "vgg-8"): (
        74.64, 70.36, 72.98, 71.02, 71.43, 72.68, 70.71, 71.23, 71.48, 72.88, 73.94, 73.88, 74.68,
    ),
    ("vgg-13", "mobilenet-v2-half"): (
        74.64, 64.60, 67.37, 64.14, 59.40, 66.30, 64.86, 65.56, 64.52, 67.13, 69.73, None, 69.71,
    ),
    ("resnet-50-bottleneck", "mobilenet-v2-half"): (
        79.34, 64.60, 67.35, 63.16, 58.58, 68.08, 65.43, 67.57, 64.43, 66.52, 69.11, None, 70.35,
    ),
    ("resnet-50-bottleneck", "vgg-8"): (
        79.34, 70.36, 73.81, 70.69, 71.84, 73.34, 70.25, 70.30, 71.50, 73.01, 74.30, None, None,
    ),
    ("resnet-32x4", "shufflenet-v1"): (
        79.42, 70.50, 74.07, 73.59, 71.73, 73.48, 71.14, 73.38, 72.28, 74.10, 75.11, None, 76.45,
    ),
    ("resnet-32x4", "shufflenet-v2"): (
        79.42, 71.82, 74.45, 73.54, 72.73, 74.56, 71.29, 73.40, 73.21, 74.69, 75.65, None, 77.07,
    ),
    ("wrn-40-2", "shufflenet-v1"): (
        75.61, 70.50, 74.83, 73.73, 73.32, 74.52, 71.38, 73.61, 72.21, 73.89, 76.05, None, 76.70,
    ),
}
# fmt: on

recipes = {f"{teacher}_{student}": pair(teacher, student, *column) for (teacher, student), column in COLUMNS.items()}
