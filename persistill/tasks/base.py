"""What a network is to do: the one place that knows what a target is, what a right answer is, and how both are shown.

Training, evaluation, export and report work with any ``Task`` and with none by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from persistill.config import Data, Evaluate, Recipe
from persistill.data import AUGMENTATIONS, ImageDataset, OpenView, Splits
from persistill.errors import UserError
from persistill.evaluation import EvaluationLoaders, EvaluationStep
from persistill.exporters import ExportTask
from persistill.structures import Batch, ModelOutput, OutputField
from persistill.tasks.evaluation_loaders import evaluation_loaders
from persistill.tasks.look import Look
from persistill.tasks.measure import Measure
from persistill.tasks.networks import Networks
from persistill.utils.progress import Progress
from persistill.utils.registry import Registry


class Task(ABC):
    """A task, without any state: all that it is told comes in as arguments.

    Attributes:
        name: in recipes and run folders.
        pipeline_tag: what the Hugging Face Hub calls the task.
        terms: names of the supervised terms, in the order in which ``criterion`` gives them.
        measures: figures of validation after each epoch. The first is the one figure by which networks are chosen; it
            is the figure under noise and corruption too, and of the report's headline.
        columns: figures of an evaluation in the main table.
        differences: figures that are compared with the baseline, image by image, each with its interval.
        suggestions: methods that are worth a try where others did not help, by their names in ``--method``.
        sections: of the report, names in ``report.sections.SECTIONS``; their order is the report's.
        augmentations: what ``train.augment`` may name.
        required_outputs: what ``criterion`` and ``accuracy`` read of outputs; several devices gather no more.
    """

    name: ClassVar[str]
    pipeline_tag: ClassVar[str]
    terms: ClassVar[tuple[str, ...]] = ("ce",)
    measures: ClassVar[tuple[Measure, ...]]
    columns: ClassVar[tuple[Measure, ...]]
    differences: ClassVar[tuple[Measure, ...]]
    suggestions: ClassVar[tuple[str, ...]] = ()
    sections: ClassVar[tuple[str, ...]]
    augmentations: ClassVar[Registry[Callable[..., Any]]] = AUGMENTATIONS
    required_outputs: ClassVar[frozenset[OutputField]] = frozenset({"logits"})

    @property
    def figure(self) -> Measure:
        """The one figure by which networks are chosen and compared."""
        return self.measures[0]

    def summary(self, metrics: Mapping[str, Any]) -> str:
        """The one figure of an evaluation in words: "accuracy 71.20%"."""
        value = self.figure.of(metrics)
        return "" if value is None else f"{self.figure.name} {value:.2%}"

    # --- data -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self, settings: Data, progress: Progress) -> Splits:
        """Read the images of a recipe with their targets, and draw the splits.

        Crops and flips reach what ``ImageDataset.fetch_targets`` gives, if it has the image's height and width.
        """

    @abstractmethod
    def sample(self, images: ImageDataset, count: int) -> Tensor:
        """Rows (n,) int64, ascending, of some of the images, the same whenever they are asked for.

        Args:
            images: a split.
            count: how many, at most as many as there are.
        """

    @abstractmethod
    def image_classes(self, images: ImageDataset) -> Tensor:
        """(N,) int64 class numbers of a split's images, for distillation methods that draw images by class.

        Where an image has no class all are of one, and these methods say that they cannot be used.
        """

    def augmentation(self, names: Sequence[Any]) -> Sequence[Any]:
        """What ``data.Loader`` does to batches of images and targets in training.

        Args:
            names: those of ``train.augment``.
        """
        return names

    # --- training ---------------------------------------------------------------------------------------------------

    def teaching(self, network: nn.Module) -> nn.Module:
        """The network of a teacher that is asked at every step; it may leave out what no loss reads."""
        return network

    def inherit_head(self, student: nn.Module, teacher: nn.Module) -> None:  # noqa: ARG002 - for detectors
        """Have a student begin with its teacher's head.

        Raises:
            UserError: if the task knows no such thing, or the heads differ.
        """
        raise UserError(
            f"inherit_head is for detectors, which have a feature pyramid and a head on it; the task is {self.name!r}. "
            "Leave it out."
        )

    def forward(self, network: nn.Module, inputs: Tensor, batch: Batch) -> ModelOutput:  # noqa: ARG002 - for detectors
        """Call a network in training: once, and as a module, for it may be wrapped for several devices.

        Args:
            network: in training mode.
            inputs: of the view that it sees.
            batch: the whole batch. A network that computes its own losses is given its targets here, and returns them
                in what ``criterion`` receives.
        """
        output: ModelOutput = network(inputs)
        return output

    def indivisible(self, network: nn.Module) -> str | None:  # noqa: ARG002 - for detectors
        """Why a batch can be shown to a network only as a whole; None if parts, and processes, may each be shown some.

        They may where all that ``criterion`` and losses read of a network is of images by themselves, or can be joined
        over the parts of a batch by ``ModelOutput.map``.

        Args:
            network: in training.

        Returns:
            A clause that begins with the network's name.
        """
        return None

    @abstractmethod
    def criterion(self, output: ModelOutput, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:
        """The supervised terms, scalars of float32, under the names of ``terms``.

        Args:
            output: what ``forward`` gave.
            batch: with the targets.
            label_smoothing: share of the target that is spread over all classes.
        """

    @abstractmethod
    def accuracy(self, output: ModelOutput, batch: Batch) -> Tensor:
        """Share of right answers in a batch of training, a scalar for the log; NaN where a task knows no such thing."""

    # --- validation -------------------------------------------------------------------------------------------------

    @abstractmethod
    def observe(self, output: ModelOutput, batch: Batch) -> Mapping[str, Any]:
        """What has to be kept of each image, so that ``validate`` can tell the figures.

        Under every name stands a tensor (B, ...) or a list of B things.

        Rows of several batches, or of several processes, are joined; no figure is averaged over batches.
        """

    @abstractmethod
    def validate(self, observed: Mapping[str, Any]) -> dict[str, float]:
        """The figures of ``measures``, by name.

        Args:
            observed: tensors (N, ...) or lists of N, joined over all images.
        """

    # --- evaluation and report --------------------------------------------------------------------------------------

    def evaluation_loaders(
        self,
        splits: Splits,
        views: Mapping[str, OpenView],
        settings: Evaluate,
        normalization: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        device: torch.device | str = "cpu",
        ood: ImageDataset | None = None,
    ) -> EvaluationLoaders:
        """What networks are measured on.

        Args:
            splits: of the recipe.
            views: what the network sees beside the images; empty for one that sees images.
            settings: size of the batches, and how many images are corrupted.
            normalization: channel means and standard deviations of the images.
            device: where batches are put.
            ood: images of other things, of the same shape.
        """
        return evaluation_loaders(splits, views, settings, normalization, sample=self.sample, device=device, ood=ood)

    @abstractmethod
    def evaluation_steps(
        self, network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate, folder: Path
    ) -> list[EvaluationStep]:
        """What is measured of a network on the test images, in order.

        Args:
            network: returns ``ModelOutput``.
            material: what it is measured on.
            view: what it sees. Steps that change images are for those that see images.
            settings: what is asked for; what a task does not know it refuses in ``problems``.
            folder: where steps find the files of earlier steps.
        """

    @abstractmethod
    def compare(self, networks: Networks, folder: Path, look: Look, progress: Progress) -> dict[str, Any]:
        """What can be told only once all networks of a comparison are measured.

        Args:
            networks: all of them.
            folder: the comparison's, which receives files for the report.
            look: gives test images, their targets, and what the teachers' views show of them.
            progress: told of what takes time.

        Returns:
            Plain JSON for the comparison's run folder.
        """

    def report(self) -> dict[str, Any]:
        """What a report must know of the task, as plain JSON for the comparison's run folder."""
        return {
            "name": self.name,
            "pipeline_tag": self.pipeline_tag,
            "measures": [measure.to_json() for measure in self.measures],
            "columns": [measure.to_json() for measure in self.columns],
            "differences": [measure.to_json() for measure in self.differences],
            "suggestions": list(self.suggestions),
            "sections": list(self.sections),
        }

    # --- export -----------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def export(self) -> ExportTask:
        """How exported files are compared and used."""

    # --- what fits --------------------------------------------------------------------------------------------------

    def problems(self, recipe: Recipe) -> list[str]:  # noqa: ARG002 - of tasks that know less
        """What a recipe asks for and this task cannot do, a sentence each."""
        return []

    def applicable(self, evaluate: Evaluate) -> Evaluate:
        """What of the settings is measured; a task that knows less leaves out the rest."""
        return evaluate

    def fitting(self, evaluate: Evaluate, shape: tuple[int, int, int]) -> Evaluate:  # noqa: ARG002 - for large images
        """The settings as they suit images of a shape (C, H, W): no more of them at a time than memory holds."""
        return evaluate

    def check(self, output: ModelOutput, batch: Batch) -> None:
        """See whether a network answers as the task needs it, before any training.

        Raises:
            UserError: if its logits have another shape.
        """
        logits, expected = output.logits, (len(batch.target), *batch.target.shape[1:])
        if (logits.shape[0], *logits.shape[2:]) != expected:
            places = ", ".join(map(str, batch.target.shape[1:]))
            raise UserError(
                f"the task {self.name!r} needs logits of shape (B, K{', ' if places else ''}{places}), one answer for "
                f"each target; the network gives {tuple(logits.shape)}. Choose a network for this task, or another "
                "task (Recipe.task)."
            )
