"""What an export must know of a task: how files are compared, and the script that travels with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from persistill.exporters.logits import LOGITS
from persistill.exporters.output_kind import OutputKind
from persistill.exporters.standalone_script import standalone_script


@dataclass(frozen=True)
class ExportTask:
    """The part of a task that an export needs.

    Attributes:
        name: of the task, stands in model.json.
        figure: name of what ``score`` measures; in the result of an export it stands under this name.
        score: answers and targets (N, *) -> a fraction, of which more is better; NaN where the targets tell nothing.
            Answers are logits (N, K, *) unless ``outputs`` says otherwise.
        script: file name of the script that shows how to run the ONNX file without persistill and without torch.
        script_text: its content.
        compared: test images that every file answers.
        outputs: what files answer, and how two of them are compared.
        runs: the format of the file that the script runs.
    """

    name: str
    figure: str
    score: Callable[[Any, Tensor], float]
    script: str
    script_text: str
    compared: int = 512
    outputs: OutputKind = LOGITS
    runs: str = "onnx"


def _accuracy(logits: Tensor, target: Tensor) -> float:
    return float((logits.argmax(1) == target).double().mean())


CLASSIFY = ExportTask(
    "classification",
    "accuracy",
    _accuracy,
    "classify.py",
    standalone_script(
        "Classify images with model.onnx:   pip install numpy pillow onnxruntime;   python classify.py IMAGE...",
        """\
for path, pixels in readable_images(sys.argv[1:]):
    logits = session.run(None, {"image": np.float32(pixels[None]) / 255})[0][0] / about["temperature"]
    confidence = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(path, about["classes"][confidence.argmax()], f"{confidence.max():.1%}")
""",
    ),
)
"""One class an image."""
