"""TGD with augmentation, on handwritten digits: crops reach the topology teacher too.

    persistill run tgd_augmented_digits

As tgd_digits, but every image is shifted by up to one pixel, differently in every epoch, and the teachers run in every
step: the image teacher on the shifted image, the topology teacher on its persistence image, which is computed online.
(Digits are not flipped: a mirrored 2 is no 2.)
"""

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView
from persistill.losses import KD, TGD

recipe = Recipe(
    name="tgd_augmented_digits",
    data=Data(source="digits", train=400, validation=100, test=1000),
    views={"persistence": FittedPersistenceView(pixels=(16, 16), quantile=0.98)},
    teachers={
        "image": Teacher(model=Model(name="wrn-16-2")),
        "topology": Teacher(model=Model(name="wrn-16-2"), view="persistence"),
    },
    student=Model(name="wrn-10-1"),
    arms={
        "alone": Arm(),
        "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9, temperature=4.0),), teachers=("image",)),
        "tgd": Arm(
            cross_entropy=0.1,
            methods=(TGD(kd=0.9, similarity=300.0, alphas=(0.9, 0.1), merge="normalized"),),
            teachers=("image", "topology"),
            start="alone",
        ),
    },
    evaluate=Evaluate(noise=(0.1, 0.2, 0.3)),
    train=Train(
        epochs=20,
        batch_size=50,
        lr=0.1,
        schedule="one-cycle",
        weight_decay=5e-4,
        channels_last=True,
        augment=("crop",),
        crop_padding=1,
    ),
)
