"""What a recipe says. A recipe is a Python file that builds one ``Recipe`` and names it ``recipe``.

recipe -> views -> teachers -> students (arms x seeds) -> evaluation -> report -> export
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from persistill.errors import UserError, unknown
from persistill.specs import Spec
from persistill.types import LearningMethod, Method, PureMethod

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]


class Data(Spec):
    """Which pictures, and how they are split. All splits are class-balanced and drawn from ``split_seed``.

    Attributes:
        source: "digits" (ships with scikit-learn), a hub name ("uoft-cs/cifar10"), a folder of class folders, or a
            folder of Parquet files in the Hugging Face image layout.
        train: number of training pictures before validation is taken from them; None for all.
        validation: how many of these are kept for choosing.
        test: number of test pictures (None: all of the source's test split); for a source without one, how many
            pictures are taken from the training pictures for it, by default a fifth.
        split_seed: draws the splits.
        size: (height, width) to which pictures are brought; None if they all have one size already.
        grayscale: read pictures with one channel.
        mean: channel means for normalisation, pictures in [0, 1]; None for those that go with the networks' initial
            weights, or else to measure them on training pictures.
        std: channel standard deviations, likewise.
        skip_unreadable: go on without pictures that cannot be read, after naming and counting them.
        label: column of a Parquet or hub source that holds the class; None if there is only one that can.
    """

    source: str
    train: Positive | None = None
    validation: Positive | Share = 0.1
    test: Positive | None = None
    split_seed: int = 0
    size: tuple[Positive, Positive] | None = None
    grayscale: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    skip_unreadable: bool = False
    label: str | None = None


class Model(Spec):
    """A network by its name, and the weights from which its training starts.

    Attributes:
        name: "wrn-16-3", "timm/mobilenetv3_small_100", "torchvision/resnet18", or your own "package.module:function".
        initial: "pretrained" for the weights that timm or torchvision publish for it, or the path of a safetensors
            file of such a network. The classifier may be for other classes, and starts fresh then. None for random
            weights.
    """

    name: str
    initial: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As for all settings; ``initial`` is left out where there is none, as before there was such a field."""
        return {name: value for name, value in super().to_json().items() if (name, value) != ("initial", None)}


class Train(Spec):
    """How a network is trained.

    Attributes:
        milestones: epochs after which the step schedule multiplies the learning rate by ``gamma``.
        warmup_epochs: epochs of linear warm-up before the schedule (one-cycle: the share that rises).
        augment: random crops (padded by ``crop_padding``) and horizontal flips, in batch on the device.
        precision: of forward and backward passes; losses are computed in fp32 whatever it is.
        clip_norm: largest norm of the gradient; None for no limit.
        label_smoothing: share of the target that is spread over all classes in the cross-entropy.
    """

    epochs: Positive = 200
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Weight = 1e-4
    schedule: Literal["constant", "step", "cosine", "one-cycle"] = "step"
    milestones: tuple[Positive, ...] = (40, 80, 120, 160)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.2
    warmup_epochs: Weight = 0.0
    augment: tuple[Literal["crop", "flip"], ...] = ()
    crop_padding: Positive = 4
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    channels_last: bool = False


class Quantise(Spec):
    """How the exported student is trained on before it is rounded to 8 bits (quantisation-aware training).

    A copy of it goes on learning what its arm learns, from the same teachers, with weights and activations rounded as
    the int8 file will round them. The int8 file is made of this copy, all other files of the student itself. Where not
    stated here, training is that of the arm; the learning rate falls from its first value to 0 as half a cosine, so
    that weights come to rest on one side of a step. Parts of methods that learn begin anew.

    Attributes:
        epochs: how long.
        rate: first learning rate, as a share of the peak learning rate of the student's training.
    """

    epochs: Positive = 2
    rate: Annotated[float, Field(gt=0, le=1)] = 0.01

    def training(self, train: Train) -> Train:
        """The settings of a training, changed as said here."""
        changes = {"epochs": self.epochs, "lr": self.rate * train.lr, "schedule": "cosine", "warmup_epochs": 0.0}
        return train.model_copy(update=changes)


class Teacher(Spec):
    """A network that teaches, and the view of the data that it sees.

    Attributes:
        model: the network.
        view: "image", or a name in ``Recipe.views``.
        train: how it is trained; None for the recipe's own ``train``.
        weights: a safetensors file written by ``persistill export`` or a teacher's run, instead of training.
    """

    model: Model
    view: str = "image"
    train: Train | None = None
    weights: str | None = None

    @model_validator(mode="after")
    def _trained_or_started(self) -> Self:
        if self.weights is not None and self.model.initial is not None:
            raise ValueError(
                f"weights={self.weights!r} are those of a teacher that is trained already, and "
                f"model.initial={self.model.initial!r} those from which one is trained here: give one of the two."
            )
        return self


class Arm(Spec):
    """One way to train the student; a recipe compares several.

    Attributes:
        cross_entropy: weight of the cross-entropy with the labels.
        methods: distillation methods, whose weighted terms are added.
        teachers: names in ``Recipe.teachers``, in the order in which the methods receive them.
        start: another arm, whose trained student of the same seed this one starts from (TGD's "annealing" start);
            None for the weights from which the student's model starts.
        train: how; None for the recipe's own ``train``.
    """

    cross_entropy: Weight = 1.0
    methods: tuple[Spec, ...] = ()
    teachers: tuple[str, ...] = ()
    start: str | None = None
    train: Train | None = None

    @model_validator(mode="after")
    def _teachers_suffice(self) -> Self:
        for method in as_methods(self.methods):
            if len(self.teachers) < method.teachers_needed:
                raise ValueError(
                    f"{type(method).__name__} needs {method.teachers_needed} teacher(s), "
                    f"and this arm names {len(self.teachers)}."
                )
        if not self.methods and self.cross_entropy == 0:
            raise ValueError("an arm with neither methods nor cross_entropy has nothing to learn from.")
        return self


class Evaluate(Spec):
    """What is measured on the test pictures, once, at the end.

    Attributes:
        noise: standard deviations of Gaussian noise added to pictures in [0, 1].
        noise_seed: draws noise and corruptions, the same for every network.
        ece_bins: bins of the calibration errors.
        batch_size: pictures that a network is asked about at a time.
        embeddings: test pictures whose embedding is kept.
        attacks: strengths of FGSM and PGD, the largest change of a value in 255ths; empty for none.
        attack_pictures: test pictures that are attacked.
        ood: a source of pictures of other things, named as ``Data.source``, that confidence should tell from the test
            pictures; None for none.
        ood_label: as ``Data.label``, for a source where more than one column can hold the class.
        ood_pictures: how many of them are shown.
        corruptions: what pictures are corrupted by, at five severities: names, "standard" for the fifteen that make the
            mean corruption error, "all" for these and four more; empty for none.
        corruption_pictures: test pictures that are corrupted.
    """

    noise: tuple[Annotated[float, Field(gt=0)], ...] = (0.02, 0.04, 0.08)
    noise_seed: int = 0
    ece_bins: Positive = 15
    batch_size: Positive = 500
    embeddings: Positive = 2000
    attacks: tuple[Annotated[float, Field(gt=0, le=255)], ...] = (2.0, 8.0)
    attack_pictures: Positive = 500
    ood: str | None = None
    ood_label: str | None = None
    ood_pictures: Positive = 10_000
    corruptions: tuple[str, ...] = ("standard",)
    corruption_pictures: Positive = 1000

    @field_validator("corruptions", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        """A name alone, as it is typed on a command line, stands for itself."""
        return (value,) if isinstance(value, str) else value


class Published(Spec):
    """Published figures beside which a recipe's own are to be set, and what keeps the two apart.

    Attributes:
        source: paper, table or log, with an address.
        accuracies: arm or teacher -> top-1 accuracy on the test pictures, 0 to 1.
        chosen: how the epoch was chosen: "last epoch", "best of 200 epochs, chosen on the test pictures".
        differences: of protocol between the publication and this recipe, a sentence each.
    """

    source: str
    accuracies: Annotated[dict[str, Share], Field(min_length=1)]
    chosen: str
    differences: tuple[str, ...] = ()


class Recipe(Spec):
    """A whole comparison.

    Attributes:
        views: names for what teachers may see beside "image", e.g. persistence images.
        arms: name -> arm, in the order of the report; the first is the baseline.
        seeds: one student per arm and seed.
        teacher_seed: each teacher is trained once, from this seed, and teaches all students.
        teacher_cache: compute what the methods read of each teacher once and store it, maps in float16 ("half") or
            float32 ("exact"); only where pictures are not augmented. "off" asks the teacher at every step.
        export: the arm whose student, of the first seed, is exported; None for the last arm.
        quantise: how that student is trained on for its int8 file; None to round it as it is.
        published: figures that this recipe is to reproduce.
        small: changes, field path -> value, that make a sibling of this recipe for two cores (see ``smaller``).
    """

    name: str
    data: Data
    student: Model
    arms: dict[str, Arm]
    teachers: dict[str, Teacher] = Field(default_factory=dict)
    views: dict[str, Spec] = Field(default_factory=dict)
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    teacher_seed: int = 0
    teacher_cache: Literal["off", "half", "exact"] = "off"
    export: str | None = None
    quantise: Quantise | None = None
    published: tuple[Published, ...] = ()
    small: dict[str, Any] = Field(default_factory=dict)

    @property
    def exported_arm(self) -> str:
        """Name of the arm whose student, of the first seed, is exported."""
        return self.export or list(self.arms)[-1]

    def smaller(self) -> Self:
        """The sibling for two cores: the changes of ``small`` made, "_small" added to the name.

        Raises:
            UserError: if the recipe names no such changes, or one of them leads nowhere.
        """
        if not self.small:
            raise UserError(f"the recipe {self.name!r} has no small sibling: it names no changes in `small`.")
        smaller = self.with_value("name", f"{self.name}_small")
        for path, value in self.small.items():
            smaller = smaller.with_value(path, value)
        return smaller

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        problems: list[str] = []

        def known(kind: str, name: str | None, names: Sequence[str]) -> None:
            if name is not None and name not in names:
                problems.append(str(unknown(kind, name, names)))

        if not self.arms:
            problems.append("a recipe needs at least one arm.")
        if len(set(self.seeds)) < len(self.seeds):
            problems.append(f"seeds must differ from each other; {self.seeds} was given.")
        if "image" in self.views:
            problems.append("the view 'image' is the picture itself; give yours another name.")
        for name, teacher in self.teachers.items():
            known(f"view of teacher {name!r}:", teacher.view, ["image", *self.views])
        names = list(self.arms)
        for name, arm in self.arms.items():
            for teacher_name in arm.teachers:
                known(f"teacher of arm {name!r}:", teacher_name, list(self.teachers))
            known(f"start of arm {name!r} (an arm before it):", arm.start, names[: names.index(name)])
        known("arm to export:", self.export, names)
        for published in self.published:
            for name in published.accuracies:
                known("published arm or teacher:", name, [*names, *self.teachers])
        if problems:
            raise ValueError(" ".join(problems))
        return self


def as_methods(specs: Sequence[Spec]) -> list[Method]:
    """The methods of an arm, typed as such.

    Raises:
        ValueError: if one of them is something else.
    """
    methods: list[Method] = []
    for spec in specs:
        if not isinstance(spec, PureMethod | LearningMethod):
            raise ValueError(  # noqa: TRY004 - pydantic collects ValueErrors
                f"methods must hold distillation methods; {type(spec).__name__} is none."
            )
        methods.append(spec)
    return methods
