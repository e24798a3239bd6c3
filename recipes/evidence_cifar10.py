"""First evidence on CIFAR-10, at a size for two cores: which method helps a small student, and is it the topology?

    persistill run evidence_cifar10 --set data.source=FOLDER_OF_PARQUET

10,000 training images, 2,000 of them for validation, all 10,000 test images; 12 epochs, no augmentation, outputs of
teachers computed once; WRN-16-1 student, WRN-16-2 image teacher, WRN-16-1 topology teachers; 3 seeds. Data, teachers
and training are those of tgd_cifar10_small, so their stages are shared. Every method has its control: TGD the same
terms from the image teacher alone and a student that merely trains longer, TopKD has KD at TopKD's weights. Two to
three hours on two cores; results: docs/results.md.
"""

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView, PersistenceView
from persistill.losses import AMD, KD, SEKD, SP, TGD, TopKD
from persistill.losses.topkd.ripsnet import Surrogate

IMAGE = ("image",)
KD_OF_TOPKD = KD(weight=2.0, temperature=4.0)
KD_BATCHMEAN = KD(weight=0.9, temperature=4.0)
FEWER_CLOUDS = Surrogate(cloud_epochs=64, epochs=200, patience=20, lr=2e-3)


def tgd_fitted(alpha: float) -> Arm:
    """TGD with the fitted view, maps normalized before mixing, and this much weight on the image teacher."""
    return Arm(
        cross_entropy=0.1,
        methods=(TGD(alphas=(alpha, round(1 - alpha, 6)), kl_reduction="mean", merge="normalized"),),
        teachers=("image", "topology-fitted"),
        start="alone",
    )


recipe = Recipe(
    name="evidence_cifar10",
    data=Data(source="uoft-cs/cifar10", train=10_000, validation=2_000),
    views={"published": PersistenceView(), "fitted": FittedPersistenceView(pixels=(32, 32))},
    teachers={
        "image": Teacher(model=Model(name="wrn-16-2")),
        "topology-published": Teacher(model=Model(name="wrn-16-1"), view="published"),
        "topology-fitted": Teacher(model=Model(name="wrn-16-1"), view="fitted"),
    },
    student=Model(name="wrn-16-1"),
    arms={
        "alone": Arm(),
        "alone, longer": Arm(start="alone"),
        "kd, as TGD's authors": Arm(
            cross_entropy=0.1, methods=(KD(weight=0.9, temperature=4.0, kl_reduction="mean"),), teachers=IMAGE
        ),
        "kd": Arm(cross_entropy=0.1, methods=(KD_BATCHMEAN,), teachers=IMAGE),
        "kd, as TopKD's": Arm(methods=(KD_OF_TOPKD,), teachers=IMAGE),
        "sp": Arm(methods=(SP(weight=3000.0),), teachers=IMAGE),
        "image only": Arm(
            cross_entropy=0.1, methods=(TGD(alphas=(1.0,), kl_reduction="mean"),), teachers=IMAGE, start="alone"
        ),
        "tgd": Arm(
            cross_entropy=0.1, methods=(TGD.published(),), teachers=("image", "topology-published"), start="alone"
        ),
        "tgd fitted 0.9": tgd_fitted(0.9),
        "tgd fitted 0.7": tgd_fitted(0.7),
        "amd": Arm(cross_entropy=0.1, methods=(KD_BATCHMEAN, AMD(weight=5000.0)), teachers=IMAGE),
        "sekd": Arm(methods=(SEKD(),), teachers=IMAGE),
        "topkd exact": Arm(methods=(KD_OF_TOPKD, TopKD()), teachers=IMAGE),
        "topkd published": Arm(methods=(KD_OF_TOPKD, TopKD.published(FEWER_CLOUDS)), teachers=IMAGE),
        "kd and sp": Arm(methods=(KD_OF_TOPKD, SP(weight=3000.0)), teachers=IMAGE),
    },
    teacher_cache="half",  # without augmentation the outputs of teachers are computed once
    train=Train(epochs=12, batch_size=128, lr=0.1, schedule="one-cycle", weight_decay=5e-4, channels_last=True),
    evaluate=Evaluate(corruptions=(), attacks=()),
)
