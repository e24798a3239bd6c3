"""A recipe that has a stage of every kind, and takes seconds."""

from persistill.config import Arm, Data, Evaluate, Model, Quantize, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView
from persistill.losses import KD, TopKD
from persistill.losses.topkd.ripsnet import Surrogate

RECIPE = Recipe(
    name="tiny",
    data=Data(source="digits", train=60, validation=10, test=20),
    views={"persistence": FittedPersistenceView(pixels=(8, 8))},
    teachers={
        "image": Teacher(model=Model(name="resnet-8")),
        "topology": Teacher(model=Model(name="resnet-8"), view="persistence"),
    },
    student=Model(name="resnet-8"),
    arms={
        "kd": Arm(methods=(KD(),), teachers=("topology",)),
        "topkd": Arm(
            methods=(TopKD(compare="image", surrogate=Surrogate(epochs=2, cloud_epochs=2)),), teachers=("image",)
        ),
    },
    train=Train(epochs=2, batch_size=20, lr=0.05, schedule="constant"),
    evaluate=Evaluate(noise=(0.1,), corruptions=(), attacks=()),
    teacher_cache="exact",
    seeds=(0,),
    quantize=Quantize(epochs=1),
    formats=("onnx", "int8"),
)
