"""SEKD between detectors of blood cells, beside the methods made for detectors: a size for two cores.

    persistill run sekd_bccd --set data.source=FOLDER

BCCD (github.com/Shenggan/BCCD_Dataset, MIT): 205 / 87 / 72 images of red and white blood cells and platelets, in any
layout of images with boxes; here at 96 x 128. FCOS on timm's ResNet-10-T teaches FCOS on half a MobileNetV3-Small, both
with levels of 64 channels. All start from random weights, so figures are far below those of detectors that begin with
weights of ImageNet. KD is that of dense heads (classes, boxes, centerness), PKD, FGD and SEKD have the weights of their
authors. MGD is a sum over places and channels: its weight is theirs times 350, by which an image of theirs has more of
both. Trainings are short, three epochs, and ten of the teacher. 3 seeds; half an hour on one idle core. Results:
docs/detection.md.
"""

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.losses import SEKD
from persistill.losses.detection import FGD, MGD, PKD, DenseKD, OnLevels

IMAGE = ("image",)
TRAIN = Train(
    epochs=3,
    batch_size=8,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-2,
    schedule="cosine",
    warmup_epochs=1.0,
    clip_norm=10.0,
    augment=("flip",),
)

recipe = Recipe(
    name="sekd_bccd",
    task="detection",
    data=Data(source="bccd", size=(96, 128)),
    teachers={"image": Teacher(model=Model(name="fcos-64:timm/resnet10t"), train=TRAIN.with_value("epochs", 10))},
    student=Model(name="fcos-64:timm/mobilenetv3_small_050"),
    arms={
        "alone": Arm(),
        "kd": Arm(methods=(DenseKD(),), teachers=IMAGE),
        "pkd": Arm(methods=(PKD(),), teachers=IMAGE),
        "fgd": Arm(
            methods=(FGD(objects=1.6e-3, background=8e-4, attention=8e-4, relation=8e-6, temperature=0.8),),
            teachers=IMAGE,
        ),
        "mgd": Arm(methods=(MGD(weight=7e-3),), teachers=IMAGE),
        "sekd": Arm(methods=(OnLevels(loss=SEKD()),), teachers=IMAGE),
        "sekd kd": Arm(methods=(OnLevels(loss=SEKD()), DenseKD()), teachers=IMAGE),
    },
    train=TRAIN,
    evaluate=Evaluate(
        noise=(0.04,),
        attacks=(),
        corruptions=("defocus_blur", "jpeg_compression"),
        corruption_images=24,
        batch_size=8,
    ),
)
