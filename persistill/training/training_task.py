"""What a training must know of a task."""

from typing import Protocol

from torch import Tensor, nn

from persistill.structures import Batch, ModelOutput, OutputField


class TrainingTask(Protocol):
    """The part of a task that a training needs; every ``tasks.Task`` is one.

    Attributes:
        terms: names of the supervised terms, in the order in which ``criterion`` gives them.
        required_outputs: what ``criterion`` and ``accuracy`` read of outputs.
    """

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the supervised terms."""

    @property
    def required_outputs(self) -> frozenset[OutputField]:
        """What is read of outputs."""

    def indivisible(self, network: nn.Module) -> str | None:
        """Why a batch cannot be taken in parts; see ``tasks.Task``."""

    def forward(self, network: nn.Module, inputs: Tensor, batch: Batch) -> ModelOutput:
        """Call a network, once."""

    def criterion(self, output: ModelOutput, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:
        """The supervised terms by name, scalars of float32."""

    def accuracy(self, output: ModelOutput, batch: Batch) -> Tensor:
        """Share of right answers, a scalar for the log."""
