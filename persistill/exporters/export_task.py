"""What an export must know of a task: how files are compared, and the script that travels with them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from persistill.exporters.standalone_script import standalone_script


@dataclass(frozen=True)
class ExportTask:
    """The part of a task that an export needs.

    Attributes:
        name: of the task, stands in model.json.
        figure: name of what ``score`` measures; in the result of an export it stands under this name.
        score: logits (N, K, *) and targets (N, *) -> a fraction, of which more is better.
        script: file name of the script that shows how to run the ONNX file without persistill and without torch.
        script_text: its content.
        compared: test images that every file answers.
    """

    name: str
    figure: str
    score: Callable[[Tensor, Tensor], float]
    script: str
    script_text: str
    compared: int = 512


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
