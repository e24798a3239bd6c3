"""resnet-8 taught by wrn-16-2.

Written by:

    persistill distill --data digits --teacher wrn-16-2 --student resnet-8 --method kd --seeds 0,1,2

* The teacher wrn-16-2 was given no weights (--teacher-weights), so it is trained first, on these images.
* Images are cropped at random, so teachers are asked at every step; --no-augment asks each once and stores its
  answers: quicker, often less accurate.
* 100 epochs of 10 steps; --epochs chooses others.
"""

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import KD

recipe = Recipe(
    name="distill_digits_resnet-8_kd",
    data=Data(source="digits", size=(8, 8)),
    student=Model(name="resnet-8"),
    arms={"alone": Arm(), "kd": Arm(methods=(KD(weight=2.0),), teachers=("image",))},
    teachers={"image": Teacher(model=Model(name="wrn-16-2"))},
    train=Train(
        epochs=100,
        nesterov=True,
        weight_decay=0.0005,
        schedule="one-cycle",
        augment=("crop",),
        crop_padding=1,
        channels_last=True,
    ),
)
