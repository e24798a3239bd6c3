"""Semantic segmentation of street scenes: does a teacher of pixels help a small student? A size for two cores.

    persistill run segmentation_camvid --set data.source=FOLDER_OF_PARQUET

CamVid in the version of SegNet's authors: 367 / 101 / 233 images of 11 classes, here brought to 90 x 120, in Parquet
files with a column of masks, or in folders train, val and test with images and masks. LR-ASPP on timm's ResNet-10-T
teaches LR-ASPP on half a MobileNetV3-Small; both start from random weights. KD is that of Liu et al. 2019 ("Structured
Knowledge Distillation for Semantic Segmentation": the KL divergence of every pixel, weight 10), CWD that of its authors
on logits (weight 3, temperature 4). 3 seeds. Under an hour on one busy core; results: docs/segmentation.md.
"""

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.losses import CWD, KD

IMAGE = ("image",)

recipe = Recipe(
    name="segmentation_camvid",
    task="segmentation",
    data=Data(source="camvid", size=(90, 120)),
    teachers={
        "image": Teacher(
            model=Model(name="lraspp:timm/resnet10t"),
            train=Train(
                epochs=24,
                batch_size=8,
                optimizer="adamw",
                lr=2e-3,
                weight_decay=0.01,
                schedule="cosine",
                warmup_epochs=1.0,
                augment=("crop", "flip"),
                crop_size=(72, 96),
            ),
        ),
    },
    student=Model(name="lraspp:timm/mobilenetv3_small_050"),
    arms={
        "alone": Arm(),
        "kd": Arm(methods=(KD(weight=10.0, temperature=1.0),), teachers=IMAGE),
        "cwd": Arm(methods=(CWD(on="logits", weight=3.0, temperature=4.0),), teachers=IMAGE),
    },
    train=Train(
        epochs=12,
        batch_size=8,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.01,
        schedule="cosine",
        warmup_epochs=1.0,
        augment=("crop", "flip"),
        crop_size=(72, 96),
    ),
    evaluate=Evaluate(
        noise=(0.04,),
        attacks=(),
        corruptions=("defocus_blur", "fog", "jpeg_compression"),
        corruption_images=60,
        batch_size=32,
    ),
)
