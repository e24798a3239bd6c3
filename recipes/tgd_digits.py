"""TGD on handwritten digits: the demonstration, from images to a report in minutes.

    persistill demo          (the same as: persistill run tgd_digits)

1,797 gray images of 8x8 pixels that ship with scikit-learn. Only 300 of them are trained on, so that there is
something to learn from a teacher; 1,000 others are for the test. Two teachers, one on images and one on persistence
images; three students per seed: alone, with KD, and with TGD, which starts from the student alone as in the paper.
"""

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView
from persistill.losses import KD, TGD

recipe = Recipe(
    name="tgd_digits",
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
    train=Train(epochs=20, batch_size=50, lr=0.1, schedule="one-cycle", weight_decay=5e-4, channels_last=True),
)
