"""TGD on CIFAR-10 at a size for two cores: does a topology teacher help, and is it the topology that helps?

    persistill run tgd_cifar10_small                                          (from the Hugging Face hub)
    persistill run tgd_cifar10_small --set data.source=FOLDER_OF_PARQUET      (from local files)

10,000 training images, 2,000 of them for validation, all 10,000 test images; 12 epochs, no augmentation, as in the
paper (topology teachers get persistence images of whole images). Five arms: the student alone; KD; the same terms as
TGD from the image teacher alone (the control that the paper lacks); TGD with the published persistence images and
weights; TGD with persistence images fitted to the data, and each teacher's similarity map normalized before merging.
The three with TGD's terms start from the student alone. Topology teachers are WRN-16-1, to save time. About an hour
and a half on two cores; its arms are among those of evidence_cifar10, whose results are in docs/results.md.
"""

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView, PersistenceView
from persistill.losses import KD, TGD

recipe = Recipe(
    name="tgd_cifar10_small",
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
        "kd": Arm(
            cross_entropy=0.1,
            methods=(KD(weight=0.9, temperature=4.0, kl_reduction="mean"),),
            teachers=("image",),
        ),
        "image only": Arm(
            cross_entropy=0.1,
            methods=(TGD(alphas=(1.0,), kl_reduction="mean"),),
            teachers=("image",),
            start="alone",
        ),
        "tgd": Arm(
            cross_entropy=0.1,
            methods=(TGD.published(),),
            teachers=("image", "topology-published"),
            start="alone",
        ),
        "tgd fitted": Arm(
            cross_entropy=0.1,
            methods=(TGD(alphas=(0.9, 0.1), kl_reduction="mean", merge="normalized"),),
            teachers=("image", "topology-fitted"),
            start="alone",
        ),
    },
    teacher_cache="half",  # without augmentation the outputs of teachers are computed once
    evaluate=Evaluate(attack_images=500, corruption_images=1000),
    train=Train(epochs=12, batch_size=128, lr=0.1, schedule="one-cycle", weight_decay=5e-4, channels_last=True),
)
