"""Files that answer with boxes: of all places of a dense detector, or those that are left of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.exporters.detector_student import DenseStudent, DetectorStudent
from persistill.exporters.formats import FORMATS, ExportSource, Format, Outputs
from persistill.exporters.output_kind import Compared, OutputKind, Reference, normalized, refusal
from persistill.models import Detector, Network
from persistill.models.detection.dense_decoder import DenseDecoder, Suppression, suppression
from persistill.structures import Detections
from persistill.utils.non_maximum_suppression import suppress

TOLERANCE = 1e-3
"""Largest difference between two scores, and between two corners in sides of the image."""
_SAME_BOX = 0.9
"""Intersection over union from which on two boxes are the same answer."""
_AGREEMENT = 0.98
"""Of exact files. Two boxes that overlap almost as much as is allowed may change places in a rounding."""
_FINISHED = ("boxes", "scores", "labels")


@dataclass(frozen=True)
class BoxReference(Reference):
    """What a detector answers.

    Attributes:
        answers: ``Detections`` of each image, by the detector's own selection.
        boxes: (N, P, 4) of all places; None for a detector that is not dense.
        scores: (N, P, K); likewise.
        selection: how detections are selected from these; likewise.
        side: pixels of the longest side of the images.
    """

    boxes: Tensor | None
    scores: Tensor | None
    selection: Suppression | None
    side: int


class Boxes(OutputKind):
    """Boxes and scores of all places, for any number of images; in ``model.nms.onnx`` the detections of one image.

    Answers are ``Detections`` of each image.
    """

    names: ClassVar[tuple[str, ...]] = ("boxes", "scores")
    timed: ClassVar[tuple[int, ...]] = (1,)
    float_tail: ClassVar[bool] = True

    @property
    def formats(self) -> Mapping[str, Format]:
        """Those of logits, and one with the selection of the detections inside."""
        weights = dataclasses.replace(FORMATS["safetensors"], batches=False)
        whole = dataclasses.replace(
            FORMATS["onnx"], file="model.nms.onnx", what="ONNX with its selection", batches=False, write=_write_whole
        )
        return {**FORMATS, "safetensors": weights, "nms": whole}

    def left_out(self, network: Network) -> dict[str, str]:
        """All files without the selection, where the network cannot do without."""
        if suppression(_detector(network)) is not None:
            return {}
        return {
            name: f"{kind.file} was left out: {network.name} selects regions inside, by what it finds in an image, so "
            "there are no boxes of all places. model.nms.onnx holds it as it is."
            for name, kind in self.formats.items()
            if name not in ("safetensors", "nms")
        }

    def module(self, network: Network, about: Mapping[str, Any]) -> nn.Module:
        """Boxes and scores of all places."""
        return DenseStudent(_detector(network), about).eval()

    def reference(self, network: Network, about: Mapping[str, Any], batches: Sequence[Tensor]) -> BoxReference:
        """The detector's own detections, and boxes of all places where it is dense."""
        detector, (_, height, width) = _detector(network), about["shape"]
        inputs = [one[None] for batch in batches for one in normalized(batch, about)]
        selection, boxes, scores = suppression(detector), None, None
        with torch.inference_mode():
            found = [detector(one).detections[0] for one in inputs]
            if selection is not None:
                decoder = DenseDecoder(detector, (height, width)).eval()
                boxes, scores = (torch.cat(parts) for parts in zip(*map(decoder, inputs), strict=True))
        return BoxReference(found, boxes, scores, selection, max(height, width))

    def compare(self, found: Sequence[Outputs], reference: Reference, kind: Format) -> Compared:
        """The largest difference of scores, and of corners in sides of the image; the share of boxes that both find.

        Files of all places are compared place by place, before the selection.
        """
        assert isinstance(reference, BoxReference)
        if len(found[0]) == len(_FINISHED):
            answers, expected = [Detections(*outputs) for outputs in found], reference.answers
            gaps = [_gap(*pair, reference.side) for pair in zip(answers, expected, strict=True)]
            difference = max(gaps, default=0.0)
        else:
            assert reference.boxes is not None
            assert reference.scores is not None
            boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
            apart = (scores - reference.scores).abs().max(), (boxes - reference.boxes).abs().max() / reference.side
            difference = float(torch.stack(apart).max())  # NaN, if one is
            answers = _select(boxes, scores, reference.selection)
            expected = _select(reference.boxes, reference.scores, reference.selection)
        same = sum(len(_pairs(*pair)[0]) for pair in zip(answers, expected, strict=True))
        agreement = 2 * same / max(1, sum(len(one.scores) for one in (*answers, *expected)))
        agreement = 1.0 if not any(len(one.scores) for one in (*answers, *expected)) else agreement
        if kind.exact and not (difference <= TOLERANCE and agreement >= _AGREEMENT):
            raise refusal(
                kind,
                f"scores, or corners of boxes in sides of the image, differ by up to {difference:.3g} on "
                f"{len(expected)} images, where {TOLERANCE} is allowed; {agreement:.1%} of the boxes are the same.",
            )
        if not difference < float("inf"):
            raise refusal(kind, "it answers with numbers that are not finite.")
        return Compared(answers, difference, agreement)

    def describe(self, reference: Reference) -> dict[str, Any]:
        """Shapes of all outputs, and how detections are selected."""
        assert isinstance(reference, BoxReference)
        pixels = "x1, y1, x2, y2 in pixels of the input, from its upper left corner"
        whole = {
            "boxes": {"shape": ["objects", 4], "type": "float32", "what": pixels},
            "scores": {"shape": ["objects"], "type": "float32", "what": "0 to 1, falling"},
            "labels": {"shape": ["objects"], "type": "int64", "what": "positions in classes"},
        }
        if reference.boxes is None or reference.scores is None or reference.selection is None:
            return {"output": {"model.nms.onnx": whole}}
        places = {
            "boxes": {"shape": ["batch", *reference.boxes.shape[1:]], "type": "float32", "what": pixels},
            "scores": {"shape": ["batch", *reference.scores.shape[1:]], "type": "float32", "what": "0 to 1, by class"},
        }
        return {
            "output": {"model.nms.onnx": whole, "others": places},
            "selection": {**reference.selection._asdict(), "what": "non-maximum suppression, class by class"},
        }


BOXES = Boxes()


def _detector(network: Network) -> Detector:
    if not isinstance(network, Detector):
        raise UserError(f"{network.name!r} is no detector, and cannot be exported as one.")
    return network


def _write_whole(source: ExportSource, path: Path) -> None:
    from persistill.exporters import onnx_file  # noqa: PLC0415 - of an extra

    student = DetectorStudent(_detector(source.network), source.about).eval()
    path.write_bytes(onnx_file.to_onnx_of_one_image(student, source.shape, source.config, _FINISHED))


def _select(boxes: Tensor, scores: Tensor, selection: Suppression | None) -> list[Detections]:
    assert selection is not None
    return [
        Detections(*map(torch.from_numpy, suppress(places, values, **selection._asdict())))
        for places, values in zip(boxes.numpy(), scores.numpy(), strict=True)
    ]


def _pairs(found: Detections, expected: Detections) -> tuple[list[int], list[int]]:
    """Positions in both of the boxes that are the same, each once, the best first."""
    from torchvision.ops import box_iou  # noqa: PLC0415  slow to import

    pixel = torch.tensor([0.0, 0.0, 1.0, 1.0])  # so that boxes clipped at an edge have an area, too
    overlap = box_iou(found.boxes + pixel, expected.boxes + pixel).where(found.labels[:, None] == expected.labels, 0.0)
    pairs: tuple[list[int], list[int]] = ([], [])
    while overlap.numel() and float(best := overlap.max()) >= _SAME_BOX:
        row, column = divmod(int((overlap == best).flatten().nonzero()[0]), overlap.shape[1])
        pairs[0].append(row)
        pairs[1].append(column)
        overlap[row], overlap[:, column] = 0.0, 0.0
    return pairs


def _gap(found: Detections, expected: Detections, side: int) -> float:
    """The largest difference between the scores and the corners of boxes that both found."""
    rows, columns = _pairs(found, expected)
    if not rows:
        return 0.0
    scores = (found.scores[rows] - expected.scores[columns]).abs().max()
    boxes = (found.boxes[rows] - expected.boxes[columns]).abs().max() / side
    return float(torch.stack([scores, boxes]).max())
