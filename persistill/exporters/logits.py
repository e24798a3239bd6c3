"""Files that answer with logits, of images or of pixels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from persistill.exporters.formats import FORMATS, Format, Outputs
from persistill.exporters.output_kind import Compared, OutputKind, Reference, normalized, refusal
from persistill.exporters.student import Student
from persistill.models import Network

TOLERANCE = 1e-4
"""Largest difference between logits, as a share of the largest absolute logit of the checkpoint."""


class Logits(OutputKind):
    """Logits (B, K, *). Answers are those of all images, (N, K, *)."""

    names: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def formats(self) -> Mapping[str, Format]:
        """All that there are for tensors of one shape."""
        return FORMATS

    def module(self, network: Network, about: Mapping[str, Any]) -> Student:
        """The exported student."""
        return Student(network, about["mean"], about["std"]).eval()

    def reference(self, network: Network, about: Mapping[str, Any], batches: Sequence[Tensor]) -> Reference:
        """Logits, with images normalized as in training and not by ``Student``."""
        with torch.inference_mode():
            return Reference(torch.cat([network(normalized(x, about)).logits for x in batches]))

    def compare(self, found: Sequence[Outputs], reference: Reference, kind: Format) -> Compared:
        """The largest difference between two logits, and the share of equal classes."""
        logits, expected = torch.cat([outputs[0] for outputs in found]), reference.answers
        difference = float((logits - expected).abs().max())
        agreement = float((logits.argmax(1) == expected.argmax(1)).double().mean())
        allowed = TOLERANCE * float(expected.abs().max())
        if not kind.exact:
            allowed = math.inf if bool(logits.isfinite().all()) else 0.0
        # Written so that NaN does not pass.
        if not difference <= allowed:
            raise refusal(
                kind,
                f"its logits differ by up to {difference:.3g} on {len(expected)} images, where {allowed:.3g} is "
                f"allowed; {agreement:.1%} of the answers are equal.",
            )
        return Compared(logits, difference, agreement)

    def describe(self, reference: Reference) -> dict[str, Any]:
        """Name and shape."""
        return {"output": {"name": "logits", "shape": ["batch", *reference.answers.shape[1:]], "type": "float32"}}


LOGITS = Logits()
