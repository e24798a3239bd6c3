"""What a recipe says. A recipe is a Python file that builds one ``Recipe`` and names it ``recipe``.

recipe -> views -> teachers -> students (arms x seeds) -> evaluation -> report -> export
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from persistill.config.data import Data
from persistill.config.evaluation import Evaluate, Published
from persistill.config.fields import Named, Positive, Weight
from persistill.config.model import Model
from persistill.config.train import Quantize, Train
from persistill.errors import UserError, unknown
from persistill.losses import DistillationLoss
from persistill.settings import Settings
from persistill.utils.units import counted

CLASSIFICATION = "classification"
BEST = "best"
"""In place of an arm to export: whichever is best on validation images."""


class Teacher(Settings):
    """A network that teaches, and the view of the data that it sees.

    Attributes:
        model: the network.
        view: "image", or a name in ``Recipe.views``.
        train: how it is trained; None for the recipe's own ``train``.
        weights: a safetensors file, instead of training: written by ``persistill export`` or a run, or with the names
            of the network's own module. Channels, size and normalization may be others than those of the recipe's
            images, and classes may be more or in another order: the teacher sees images as in its training.
        mean: of the channels of the teacher's images, where its file does not say or says wrongly.
        std: likewise, standard deviations.
        size: likewise, (height, width).
        shard: hold a part of the weights on each device, where several train together (``--devices``), for a teacher
            that does not fit on one. Numbers are the same; every layer waits for the other devices' parts. Its latency
            and memory are not measured. A teacher that is trained here is held whole meanwhile.
    """

    model: Model
    view: str = "image"
    train: Train | None = None
    weights: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    size: tuple[Positive, Positive] | None = None
    shard: bool = False

    def to_json(self) -> dict[str, Any]:
        """As for all settings, without those that are not stated and once were not there."""
        left_out = (("mean", None), ("std", None), ("size", None), ("shard", False))
        return {name: value for name, value in super().to_json().items() if (name, value) not in left_out}

    @model_validator(mode="after")
    def _of_weights(self) -> Self:
        stated = [name for name in ("mean", "std", "size") if getattr(self, name) is not None]
        if stated and self.weights is None:
            raise ValueError(
                f"{' and '.join(stated)} describe the images of a teacher that is trained already (weights); one that "
                "is trained here sees the recipe's: data.mean, data.std, data.size."
            )
        return self

    @model_validator(mode="after")
    def _trained_or_started(self) -> Self:
        if self.weights is not None and self.model.initial is not None:
            raise ValueError(
                f"weights={self.weights!r} are those of a teacher that is trained already, and "
                f"model.initial={self.model.initial!r} those from which one is trained here: give one of the two."
            )
        return self


class Arm(Settings):
    """One way to train the student; a recipe compares several.

    Attributes:
        cross_entropy: weight of the cross-entropy with the labels.
        methods: distillation losses, whose weighted terms are added.
        teachers: names in ``Recipe.teachers``, in the order in which the methods receive them.
        start: another arm, whose trained student of the same seed this one starts from (TGD's "annealing" start);
            None for the weights from which the student's model starts.
        train: how; None for the recipe's own ``train``.
        inherit_head: begin with the first teacher's feature pyramid and head, as FGD's and MGD's authors do it: of
            detectors with heads of one kind and width.
    """

    cross_entropy: Weight = 1.0
    methods: tuple[DistillationLoss, ...] = ()
    teachers: tuple[str, ...] = ()
    start: str | None = None
    train: Train | None = None
    inherit_head: bool = False

    def to_json(self) -> dict[str, Any]:
        """As for all settings; ``inherit_head`` is left out where it is False, as before there was such a field."""
        return {name: value for name, value in super().to_json().items() if (name, value) != ("inherit_head", False)}

    @model_validator(mode="after")
    def _inherits_from_somebody(self) -> Self:
        if self.inherit_head and (not self.teachers or self.start is not None):
            raise ValueError(
                "inherit_head begins with the first teacher's head: name a teacher, and no arm to start from, whose "
                "head it would replace."
            )
        return self

    @model_validator(mode="after")
    def _teachers_suffice(self) -> Self:
        for method in self.methods:
            if len(self.teachers) < method.num_teachers:
                raise ValueError(
                    f"{type(method).__name__} needs {counted(method.num_teachers, 'teacher')}, "
                    f"and this arm names {len(self.teachers)}."
                )
        if not self.methods and self.cross_entropy == 0:
            raise ValueError("an arm with neither methods nor cross_entropy has nothing to learn from.")
        return self


class Recipe(Settings):
    """A whole comparison.

    Attributes:
        task: "classification", "segmentation", or one of your own: a subclass of ``tasks.Task``, or
            "package.module:Class" (see ``docs/tasks.md``).
        views: names for what teachers may see beside "image" -> what that is: settings of a view
            (``data.PersistenceView``, or your own subclass of ``data.View``), the name of one with default settings
            ("cubical"), or "package.module:Name".
        arms: name -> arm, in the order of the report; the first is the baseline.
        seeds: one student per arm and seed.
        teacher_seed: each teacher is trained once, from this seed, and teaches all students.
        teacher_cache: compute what the methods read of each teacher once and store it, maps in float16 ("half") or
            float32 ("exact"); only where images are not augmented. "off" asks the teacher at every step.
        export: whose student is exported: an arm's, or "best" for any. Of all seeds it is the one that is best on
            validation images by the task's figure, never on test images. Ties go to the simplest arm.
        formats: in which it is exported beside its weights: some of "onnx", "int8", "program", "executorch"; None for
            all.
        quantize: how that student is trained on for its int8 file; None to round it as it is.
        published: figures that this recipe is to reproduce.
        small: changes, field path -> value, that make a sibling of this recipe for two cores (see ``smaller``).
    """

    name: Annotated[str, Field(min_length=1)]
    data: Data
    student: Model
    arms: dict[str, Arm]
    teachers: dict[str, Teacher] = Field(default_factory=dict)
    views: dict[str, Named] = Field(default_factory=dict)
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    teacher_seed: int = 0
    teacher_cache: Literal["off", "half", "exact"] = "off"
    export: str = BEST
    formats: tuple[str, ...] | None = None
    quantize: Quantize | None = None
    published: tuple[Published, ...] = ()
    small: dict[str, Any] = Field(default_factory=dict)
    task: Named = CLASSIFICATION

    @classmethod
    def name_field(cls, field: str) -> str:
        """As for all settings; what is wrong with the whole needs no name."""
        return super().name_field(field) if field else ""

    def to_json(self) -> dict[str, Any]:
        """As for all settings; ``task`` and ``formats`` are left out where they are the default, as before there were
        such fields.
        """
        defaults = (("task", CLASSIFICATION), ("formats", None))
        return {name: value for name, value in super().to_json().items() if (name, value) not in defaults}

    @property
    def export_candidates(self) -> tuple[str, ...]:
        """Names of the arms one of whose students is exported.

        Arms that only prepare the start of another one, without the labels, are none.
        """
        if self.export != BEST:
            return (self.export,)
        starts = {arm.start for arm in self.arms.values()}
        found = tuple(name for name, arm in self.arms.items() if arm.cross_entropy > 0 or name not in starts)
        return found or tuple(self.arms)

    def training_of(self, part: Teacher | Arm) -> Train:
        """How a teacher, or the students of an arm, are trained: as they say themselves, or else as the recipe says."""
        return part.train or self.train

    def int8_training(self, arm: str) -> Train | None:
        """How the exported student is trained on for its int8 file; None where it is not.

        Args:
            arm: name of the student's arm.
        """
        return None if self.quantize is None else self.quantize.training(self.training_of(self.arms[arm]))

    def evaluation(self, images: int) -> Evaluate:
        """What is measured of every network, with the numbers of test images chosen that are left open.

        The full numbers where figures are set beside published ones; else in proportion to the baseline's training.

        Args:
            images: to train on.
        """
        baseline = self.training_of(next(iter(self.arms.values())))
        sized = self.evaluate.sized(None if self.published else baseline.epochs * images)
        return sized.model_copy(update={"similarity": True})  # of networks beside each other, and of none alone

    def quick(self) -> Self:
        """The same, measured without corruptions, attacks and the similarity to the teachers."""
        less = self.evaluate.model_copy(update={"corruptions": (), "attacks": (), "similarity": False})
        return self.model_copy(update={"evaluate": less})

    def smaller(self) -> Self:
        """The sibling for two cores: the changes of ``small`` made, "_small" added to the name.

        Raises:
            UserError: if the recipe names no such changes, or one of them leads nowhere.
        """
        if not self.small:
            raise UserError(f"the recipe {self.name!r} has no small sibling: it names no changes in `small`.")
        return self.with_value("name", f"{self.name}_small").with_values(self.small)

    @field_validator("formats", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Split names with commas between them, as they are typed on a command line."""
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

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
            problems.append("the view 'image' is the image itself; give yours another name.")
        for name, teacher in self.teachers.items():
            known(f"view of teacher {name!r}:", teacher.view, ["image", *self.views])
        names = list(self.arms)
        for name, arm in self.arms.items():
            for teacher_name in arm.teachers:
                known(f"teacher of arm {name!r}:", teacher_name, list(self.teachers))
            known(f"start of arm {name!r} (an arm before it):", arm.start, names[: names.index(name)])
        if BEST in names:
            problems.append(f"an arm cannot be called {BEST!r}: export={BEST!r} asks for the best one of all.")
        known("arm to export (--export):", self.export, [BEST, *names])
        for published in self.published:
            for name in published.figures:
                known("published arm or teacher:", name, [*names, *self.teachers])
        if problems:
            raise ValueError(" ".join(problems))
        return self
