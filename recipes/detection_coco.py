"""Pairs of detectors with published figures on COCO, for machines with a GPU.

    persistill reproduce detection_coco:fcos_r50_r101 --device cuda --set data.source=COCO
    persistill check detection_coco:faster_rcnn_r18_r50 --set data.source=COCO

COCO is the folder with ``annotations/instances_train2017.json``, ``instances_val2017.json``, ``train2017`` and
``val2017``. Students and teachers begin with weights of ImageNet. torchvision publishes no detectors with the teachers
of these tables, so they are trained first. The pairs with Faster R-CNN are Dsig's, with its batch, learning rate and
number of iterations; FCOS and RetinaNet are pairs of FGD, whose student begins with the teacher's pyramid and head, as
published ("fgd"), or without them ("fgd alone").
"""

from persistill.config import Arm, Data, Model, Published, Recipe, Teacher, Train
from persistill.losses import SEKD
from persistill.losses.detection import FGD, PKD, OnLevels

IMAGE = ("image",)
DIFFERENCES = (
    "2,000 training images are held out for validation here, and none there.",
    "Images are brought to one size of 800 x 1344 with bars at the edges; there the shorter side is resized.",
    "Teachers are trained here, with the student's schedule; those of the tables were trained by others.",
)
SEKD_DIFFERENCE = "Dsig is not SEKD: it is the method on whose code SEKD's builds. SEKD's own table was not available."


def recipe(
    head: str, student: str, teacher: str, arms: dict[str, Arm], train: Train, published: Published, detail: str
) -> Recipe:
    """One pair: heads on a feature pyramid of 256 channels, on encoders of torchvision."""
    return Recipe(
        name=f"detection_coco_{detail}",
        task="detection",
        data=Data(source="coco", size=(800, 1344), resize="letterbox", validation=2000),
        teachers={"image": Teacher(model=Model(name=f"{head}:torchvision/{teacher}", initial="pretrained"))},
        student=Model(name=f"{head}:torchvision/{student}", initial="pretrained"),
        arms=arms,
        train=train,
        published=(published,),
        seeds=(0,),
        small={"data.train": 400, "data.validation": 50, "data.test": 100, "data.size": (160, 256), "train.epochs": 2},
    )


def dsig(student: str, teacher: str, detail: str, reached: float) -> Recipe:
    """Faster R-CNN: 12 epochs of batches of 8, about 180,000 iterations, divided by 10 after 120,000 and 160,000."""
    return recipe(
        "faster-rcnn",
        student,
        teacher,
        {
            "alone": Arm(),
            "pkd": Arm(methods=(PKD(),), teachers=IMAGE),
            "sekd": Arm(methods=(OnLevels(loss=SEKD()),), teachers=IMAGE),
        },
        Train(
            epochs=12,
            batch_size=8,
            lr=0.01,
            weight_decay=1e-4,
            schedule="step",
            milestones=(8, 11),
            gamma=0.1,
            augment=("flip",),
        ),
        Published(
            source="Dsig beside SEKD: its repository's table of Faster R-CNN on COCO val2017, AP.",
            figures={"sekd": round(reached / 100, 4)},
            chosen="how the epoch was chosen is not said",
            differences=(*DIFFERENCES, SEKD_DIFFERENCE),
        ),
        detail,
    )


def fgd(head: str, teacher: str, detail: str, method: FGD, figures: tuple[float, float, float]) -> Recipe:
    """A ResNet-50 with FGD: AP in percent of the teacher, of the student alone, and with FGD and its head."""
    named = zip(("image", "alone", "fgd"), figures, strict=True)
    return recipe(
        head,
        "resnet50",
        teacher,
        {
            "alone": Arm(),
            "fgd": Arm(methods=(method,), teachers=IMAGE, inherit_head=True),
            "fgd alone": Arm(methods=(method,), teachers=IMAGE),
            "pkd": Arm(methods=(PKD(),), teachers=IMAGE),
            "sekd": Arm(methods=(OnLevels(loss=SEKD()),), teachers=IMAGE),
        },
        Train(
            epochs=24,
            batch_size=16,
            lr=0.01,
            weight_decay=1e-4,
            schedule="step",
            milestones=(16, 22),
            gamma=0.1,
            augment=("flip",),
            clip_norm=35.0,
        ),
        Published(
            source="FGD (Yang et al. 2022): its repository's table on COCO val2017, AP.",
            figures={name: round(value / 100, 4) for name, value in named},
            chosen="how the epoch was chosen is not said",
            differences=DIFFERENCES,
        ),
        detail,
    )


recipes = {
    "faster_rcnn_r18_r50": dsig("resnet18", "resnet50", "faster_rcnn_r18_r50", 37.25),
    "faster_rcnn_r50_r101": dsig("resnet50", "resnet101", "faster_rcnn_r50_r101", 40.57),
    "faster_rcnn_r101_r152": dsig("resnet101", "resnet152", "faster_rcnn_r101_r152", 41.65),
    "faster_rcnn_mobilenet_r50": dsig("mobilenet_v2", "resnet50", "faster_rcnn_mobilenet_r50", 34.44),
    "faster_rcnn_efficientnet_r101": dsig("efficientnet_b0", "resnet101", "faster_rcnn_efficientnet_r101", 37.74),
    "fcos_r50_r101": fgd(
        "fcos",
        "resnet101",
        "fcos_r50_r101",
        FGD(objects=1.6e-3, background=8e-4, attention=8e-4, relation=8e-6, temperature=0.8),
        (40.8, 38.5, 42.7),
    ),
    "retinanet_r50_x101": fgd(
        "retinanet",
        "resnext101_64x4d",
        "retinanet_r50_x101",
        FGD(objects=1e-3, background=5e-4, attention=5e-4, relation=5e-6, temperature=0.5),
        (41.0, 37.4, 40.7),
    ),
}
