"""What a training must know of a task."""

from typing import Protocol

from torch import Tensor, nn

from persistill.structures import Batch, ModelOutput


class TrainingTask(Protocol):
    """The part of a task that a training needs; every ``tasks.Task`` is one.

    Attributes:
        terms: names of the supervised terms, in the order in which ``criterion`` gives them.
        divisible: whether a batch may be taken in parts; see ``tasks.Task``.
    """

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the supervised terms."""

    @property
    def divisible(self) -> bool:
        """Whether a batch may be taken in parts."""

    def forward(self, network: nn.Module, inputs: Tensor, batch: Batch) -> ModelOutput:
        """Call a network, once."""

    def criterion(self, output: ModelOutput, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:
        """The supervised terms by name, scalars of float32."""

    def accuracy(self, output: ModelOutput, batch: Batch) -> Tensor:
        """Share of right answers, a scalar for the log."""
